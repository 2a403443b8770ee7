"""What `docs/own_agent.md` and its notebook say works, run as it stands but with little training."""

import importlib.util
import re
import subprocess
import sys

import nbformat
import pytest

from mecpart.locations import default_output, notebooks_folder
from mecpart.methods import register

NOTEBOOK = notebooks_folder() / "howto" / "own_agent.ipynb"
WITHOUT_SB3 = importlib.util.find_spec("stable_baselines3") is None


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook by plain papermill."""
    output = tmp_path_factory.mktemp("howto") / NOTEBOOK.name
    briefly = ["-p", "slots_sb3", "512", "-p", "slots_rejax", "512", "-p", "num_slots", "5"]
    command = [sys.executable, "-m", "papermill", str(NOTEBOOK), str(output), "--no-progress-bar", *briefly]
    told = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert told.returncode == 0, told.stderr
    return nbformat.read(output, as_version=4)


def outputs_of(notebook, kind):
    return [
        output.data[kind]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if kind in output.get("data", {})
    ]


def test_first_code_cell_holds_the_parameters():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert next(cell for cell in cells if cell.cell_type == "code").metadata.tags == ["parameters"]


@pytest.mark.slow
def test_notebook_ends_with_a_figure_and_a_table(executed):
    assert len(outputs_of(executed, "image/png")) == 1
    table = outputs_of(executed, "text/html")[-1]
    assert all(method in table for method in ("RPDI", "Greedy", "Myopic", "PPO (Rejax)"))


@pytest.mark.slow
def test_notebook_has_the_agent_of_stable_baselines3_or_says_that_it_is_left_out(executed):
    table = outputs_of(executed, "text/html")[-1]
    said = [output.text for cell in executed.cells for output in cell.get("outputs", []) if "text" in output]
    assert any("pip install stable-baselines3" in text for text in said) == WITHOUT_SB3
    assert ("PPO (Stable-Baselines3)" in table) != WITHOUT_SB3


def test_page_runs(monkeypatch, capsys, one_torch_thread, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(register, "_registered", {})
    text = (default_output() / "docs" / "own_agent.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 7
    namespace = {}
    for block in blocks:
        if "stable_baselines3" in block and WITHOUT_SB3:
            continue
        exec(block.replace("16_384", "2_048"), namespace)
    assert set(register.own_methods()) == {"PPO"}
    assert all(node in range(5) for node in namespace["plan"].tolist())
    assert "[" in capsys.readouterr().out
