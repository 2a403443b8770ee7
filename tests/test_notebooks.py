"""The notebooks themselves: committed clean, and run in the smoke profile by the driver and by hand."""

import ast
import base64
import shutil
import subprocess
import sys

import nbformat
import pandas as pd
import pytest

from mecpart.context import Context
from mecpart.locations import notebooks_folder
from mecpart.report.site import write_report
from mecpart.reproduction.batch import reproduce
from mecpart.reproduction.execution import NotebookError, execute

PATHS = sorted(notebooks_folder().glob("*.ipynb"))
HOW_TOS = sorted((notebooks_folder() / "howto").glob("*.ipynb"))  # no part of the batch
each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def test_committed_without_outputs():
    command = [sys.executable, "-m", "nbstripout", "--verify", *map(str, [*PATHS, *HOW_TOS])]
    stripped = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert stripped.returncode == 0, stripped.stdout + stripped.stderr


@each_notebook
def test_first_code_cell_holds_the_parameters(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.mecpart.title
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert cell.metadata.tags == ["parameters"]
    values = {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(cell.source).body}
    assert values == {"profile": "quick", "scenario": "as_printed", "output": "."}
    assert all("#" in line for line in cell.source.splitlines() if "=" in line)


@each_notebook
def test_one_that_reads_what_others_wrote_says_what_to_run(path, tmp_path):
    """At its top, and in an empty folder by an error that names the command; no other reads any."""
    notebook = nbformat.read(path, as_version=4)
    reads = any("read_results" in cell.source for cell in notebook.cells)
    assert reads == bool(notebook.metadata.mecpart.get("needs"))
    if reads:
        assert f"`mecpart reproduce --only {path.stem}`" in notebook.cells[0].source
        parameters = {"profile": "smoke", "scenario": "as_printed", "output": "."}
        command = f"mecpart reproduce --only {path.stem} --profile smoke --scenario as_printed --output {tmp_path}"
        with pytest.raises(NotebookError, match=rf"ValueError: folder must hold results of .*; {command} runs them$"):
            execute(path, parameters, folder=tmp_path, executed=tmp_path / "executed.ipynb")


@pytest.fixture(scope="module")
def by_driver(tmp_path_factory):
    output = tmp_path_factory.mktemp("driver")
    return reproduce("smoke", "as_printed", everything=True, output=output), output


@pytest.fixture(scope="module")
def with_queues(tmp_path_factory):
    """The same in `loaded`, one figure for all: what differs there is below the notebooks."""
    return reproduce("smoke", "loaded", ["fig12"], output=tmp_path_factory.mktemp("loaded"))


@pytest.mark.slow
def test_every_notebook_runs_through_the_driver(by_driver):
    summary, output = by_driver
    assert {outcome.run.notebook.path for outcome in summary.outcomes} == set(PATHS)
    assert summary.finished, str(summary)
    for path in PATHS:
        executed = output / "build" / "notebooks" / "smoke" / "as_printed" / path.name
        cells = nbformat.read(executed, as_version=4).cells
        assert any(cell.get("outputs") for cell in cells), f"{path.name} shows nothing"


@pytest.mark.slow
def test_the_explorer_leaves_its_picture_where_there_is_no_kernel(by_driver):
    """As an output beside the controls, and so on the page of the report."""
    build = by_driver[1] / "build"
    write_report("smoke", by_driver[1])
    cells = nbformat.read(build / "notebooks" / "smoke" / "as_printed" / "explorer.ipynb", as_version=4).cells
    (shown,) = [
        output.data
        for cell in cells
        for output in cell.get("outputs", ())
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    ]
    png = shown["image/png"].replace("\n", "")
    assert base64.b64decode(png).startswith(b"\x89PNG")
    page = (build / "report" / "smoke" / "as_printed" / "explorer.html").read_text(encoding="utf-8")
    assert f"data:image/png;base64,{png}" in page.replace("\n", "")


@pytest.mark.slow
def test_a_notebook_runs_in_loaded(with_queues):
    assert with_queues.finished, str(with_queues)


@pytest.mark.slow
def test_a_policy_of_ones_own_is_in_the_figure_and_the_table(by_driver, tmp_path):
    """The how-to, as it stands; it takes the learners' runs that the driver kept."""
    (path,) = (path for path in HOW_TOS if path.stem == "own_policy")
    kept = str(by_driver[1] / "build" / "cache" / "runs")
    executed = tmp_path / "executed.ipynb"
    parameters = {"profile": "smoke", "scenario": "as_printed"}
    execute(path, parameters, folder=tmp_path, executed=executed, environment=Context(runs_folder=kept).variables())
    outputs = [output for cell in nbformat.read(executed, as_version=4).cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    (table,) = [output.data["text/plain"] for output in outputs if "Fewest seconds" in str(output.get("data"))]
    gaps = next(line for line in table.splitlines() if line.startswith("Fewest seconds")).split()[2:]
    assert len(gaps) == 4
    assert all(float(gap) >= 0 for gap in gaps)


@pytest.mark.slow
def test_by_plain_papermill_the_results_are_the_drivers(by_driver, tmp_path):
    """One notebook that trains, from nothing, and one that reads what others wrote."""
    driver = by_driver[1] / "data"
    shutil.copytree(driver, tmp_path / "data", ignore=shutil.ignore_patterns("fig6*", "headline*", "claims*"))
    for name in ("fig6", "headline"):
        parameters = {"profile": "smoke", "scenario": "as_printed", "output": str(tmp_path)}
        given = [word for pair in parameters.items() for word in ("-p", *pair)]
        paths = [str(notebooks_folder() / f"{name}.ipynb"), str(tmp_path / f"{name}.ipynb")]
        command = [sys.executable, "-m", "papermill", *paths, "--no-progress-bar", *given]
        told = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert told.returncode == 0, told.stderr
    tables = {file.relative_to(driver): file for file in driver.rglob("*.csv")}
    assert tables
    assert set(tables) == {file.relative_to(tmp_path / "data") for file in (tmp_path / "data").rglob("*.csv")}
    for name, file in tables.items():
        hand = pd.read_csv(tmp_path / "data" / name)
        pd.testing.assert_frame_equal(pd.read_csv(file), hand, rtol=1e-4, obj=str(name))
