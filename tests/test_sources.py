import ast
import importlib
import sys

import pytest

from mecpart import sources

LEAF = '''"""A module."""


def double(x):
    """Twice x."""
    return 2 * x  # not x + x
'''
USER = "from mecpart.room.leaf import double\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package in the place of this one: a leaf, who uses it, and a module that neither has to do with."""
    folder = tmp_path / "mecpart"
    (folder / "room").mkdir(parents=True)
    for path, text in {"room/__init__": "", "room/leaf": LEAF, "user": USER, "other": "x = 1\n"}.items():
        (folder / f"{path}.py").write_text(text)
    monkeypatch.setattr(sources, "_PACKAGE", folder)
    sources._code.cache_clear()
    yield folder
    sources._code.cache_clear()


def digest_after(file, text):
    file.write_text(text)
    sources._code.cache_clear()
    return sources.digest("mecpart.user")


class TestDigest:
    @pytest.mark.parametrize(
        ("old", "new"), [("# not x + x", ""), ("Twice x.", "Double of x."), ("A module.", ""), ("2 * x", "(2 * x)")]
    )
    def test_comments_docstrings_and_layout_are_no_part_of_it(self, package, old, new):
        before = sources.digest("mecpart.user")
        assert digest_after(package / "room/leaf.py", LEAF.replace(old, new)) == before

    @pytest.mark.parametrize(
        ("file", "text"),
        [("room/leaf", LEAF.replace("2 * x", "3 * x")), ("room/__init__", "import os"), ("user", USER + "y = 0\n")],
    )
    def test_code_is_wherever_it_stands(self, package, file, text):
        before = sources.digest("mecpart.user")
        assert digest_after(package / f"{file}.py", text) != before

    def test_what_is_not_imported_is_no_part_of_it(self, package):
        before = sources.digest("mecpart.user")
        assert digest_after(package / "other.py", "x = 2\n") == before


def test_imports_in_every_form():
    code = """
import numpy, mecpart.model.delay as delay
from mecpart import tables, compare
from mecpart.figures import sweep
def late(): from mecpart.comparison import headline_table
"""
    assert sources.imported(code) == {
        "mecpart", "mecpart.model", "mecpart.model.delay", "mecpart.tables", "mecpart.figures",
        "mecpart.figures.sweep", "mecpart.comparison",
    }  # fmt: skip


def test_a_run_depends_on_all_modules_that_computing_it_loads():
    """Were one missing, an edit there would leave stale runs in use."""
    module = "mecpart.experiments.programs"
    importlib.import_module(module)
    found, pending = set(), {module}
    while pending:
        name = pending.pop()
        found.add(name)
        pending |= sources._code(name)[1] - found
    for name in found & sys.modules.keys():  # others are imported where they are used
        for value in vars(sys.modules[name]).values():
            at = getattr(value, "__module__", None)
            if isinstance(at, str) and at.startswith("mecpart."):
                assert at in found, f"{name} holds something of {at}"


def test_docstrings_of_the_package_are_left_out():
    """As Python itself finds them: `ast.get_docstring` of what is hashed is None throughout."""
    tree = ast.parse(sources._file("mecpart.model.delay").read_bytes())
    assert ast.get_docstring(tree)
