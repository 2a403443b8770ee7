"""Small notebooks, batches of them, and what became of these."""

import time

import nbformat

from mecpart.reproduction.batch import reproduce

PARAMETERS = """
profile = "quick"  # the profile
scenario = "as_printed"  # the scenario
output = "."  # the folder
"""
WRITE = """
from pathlib import Path
def write(name, text):
    file = Path(output, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(str(text))
"""


def notebook(folder, name, *cells, parameters=PARAMETERS, needs=(), inputs=None, kernel="python3", **declared):
    """Write a notebook into `folder`: a parameters cell, a cell that defines `write`, and the given cells."""
    built = nbformat.v4.new_notebook()
    built.cells = [nbformat.v4.new_code_cell(source) for source in (parameters, WRITE, *cells)]
    built.cells[0].metadata.tags = ["parameters"]
    built.metadata.kernelspec = {"name": kernel, "display_name": kernel, "language": "python"}
    built.metadata.mecpart = {"title": f"The {name}", "needs": list(needs), **declared}
    if inputs is not None:
        built.metadata.mecpart["inputs"] = inputs
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(built, folder / f"{name}.ipynb")


def run(folder, output, **options):
    """Run a batch in the smoke profile; its outcomes by notebook name."""
    summary = reproduce("smoke", "as_printed", notebooks=folder, output=output, **options)
    return {outcome.run.notebook.name: outcome for outcome in summary.outcomes}


def statuses(outcomes):
    return {name: outcome.status for name, outcome in outcomes.items()}


def result(output, name):
    return output / "data" / "results" / "smoke" / "as_printed" / f"{name}.csv"


def beside(output, name):
    return output / "build" / "notebooks" / "smoke" / "as_printed" / name


RESULT = "f'data/results/{profile}/{scenario}/%s.csv'"


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
