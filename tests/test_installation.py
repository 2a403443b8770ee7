"""The ways onto a machine: the lock, the wheel, and what make says when Python will not do."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mecpart

ROOT = Path(__file__).parents[1]


def normal(requirement):
    """The name in a requirement, as package indexes compare names."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_lock_pins_every_dependency_by_hash_and_names_no_index():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert "--index" not in lock
    entries = lock.replace("\\\n", " ").splitlines()
    assert all(re.match(r"[\w.-]+==[\w.!+]+ .*--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    optional = project["project"]["optional-dependencies"]
    wanted = [*project["project"]["dependencies"], *optional["test"], *optional["dev"]]
    wanted += project["build-system"]["requires"]
    missing = {normal(name) for name in wanted} - {normal(entry) for entry in entries} - {"mecpart"}
    assert not missing


def test_wheel_brings_notebooks_data_templates_and_styles_and_nothing_that_git_ignores(tmp_path):
    checkout = tmp_path / "checkout"
    for folder in ("mecpart", "data", "notebooks"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for file in (".gitignore", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, checkout)
    for left in ("notebooks/.ipynb_checkpoints/fig8.ipynb", "notebooks/data/left.csv", "data/results/left.csv"):
        (checkout / left).parent.mkdir(exist_ok=True)
        (checkout / left).touch()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(checkout)]
    subprocess.run([*pip, *build], check=True, timeout=120)
    (wheel,) = tmp_path.glob(f"mecpart-{mecpart.__version__}-*.whl")
    shutil.unpack_archive(wheel, tmp_path / "site", "zip")
    # The module is read by itself, so the package around it need not be imported.
    program = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("locations", {str(tmp_path / "site/mecpart/locations.py")!r})
locations = importlib.util.module_from_spec(spec)
spec.loader.exec_module(locations)
print(locations.notebooks_folder(), locations.data_folder(), sep=chr(10))
print(locations.default_output(), locations.built_docs(), sep=chr(10))
"""
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    notebooks, data, output, docs = map(Path, told)
    repository = tmp_path / "site/mecpart/_repository"
    assert (notebooks, data) == (repository / "notebooks", repository / "data")
    kept = ("notebooks/*.ipynb", "notebooks/howto/*.ipynb", "data/worlds.json", "data/[pm]*/*", "data/reference/*/*/*")
    wanted = {file.relative_to(ROOT): file.read_bytes() for pattern in kept for file in ROOT.glob(pattern)}
    brought = {file.relative_to(repository): file.read_bytes() for file in repository.rglob("*.*") if file.is_file()}
    assert brought == wanted
    package = ROOT / "mecpart"
    for file in (package / "py.typed", *package.glob("report/templates/*"), *package.rglob("*.mplstyle")):
        assert (tmp_path / "site" / file.relative_to(ROOT)).read_bytes() == file.read_bytes()
    assert output == tmp_path
    assert docs == Path("None")  # those of a checkout only


def test_the_version_is_the_same_wherever_it_stands():
    version = mecpart.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")
@pytest.mark.parametrize(
    ("python", "message"),
    [
        ('case "$1" in -V) echo Python 3.9.2;; *) exit 1;; esac', r"needs Python 3\.11 or newer.* 3\.9\.2"),
        ('case "$2" in *ensurepip*) exit 1;; esac', r"has no venv or ensurepip"),
        (None, r"was not found; install Python 3\.11 or newer"),
    ],
)
def test_make_says_what_is_wrong_with_python(tmp_path, python, message):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "requirements.lock").touch()
    fake = tmp_path / "fake-python"
    if python is not None:
        fake.write_text(f"#!/bin/sh\n{python}\n")
        fake.chmod(0o755)
    made = subprocess.run(
        ["make", "-C", str(tmp_path), "setup", f"PYTHON={fake}"], capture_output=True, text=True, timeout=30
    )
    assert made.returncode == 2
    assert re.search(message, made.stderr)
    assert not (tmp_path / ".venv").exists()
