import hashlib
import math
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from pictures import PAPER, sweep

from mecpart import figures

SCRIPT = """
import sys
sys.path[:0] = sys.argv[2:]
from pictures import PAPER, sweep
from mecpart import figures
figures.save_figure(figures.plot_sweep(sweep(), PAPER), sys.argv[1])
"""


def test_the_same_figure_gives_the_same_bytes_in_another_process(tmp_path, monkeypatch):
    first = figures.save_figure(figures.plot_sweep(sweep(), PAPER), tmp_path / "a" / "fig8")
    monkeypatch.setenv("PYTHONHASHSEED", "77")
    monkeypatch.setenv("MPLBACKEND", "agg")
    folders = [str(folder) for folder in Path(__file__).parents[:2]]
    subprocess.run([sys.executable, "-c", SCRIPT, tmp_path / "b" / "fig8", *folders], check=True, timeout=300)
    assert [path.suffix for path in first] == [".svg", ".pdf", ".png"]
    for path in first:
        other = tmp_path / "b" / path.name
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(other.read_bytes()).digest()


def test_no_dates_are_written(tmp_path):
    svg, pdf, _ = figures.save_figure(figures.plot_sweep(sweep(), PAPER), tmp_path / "fig8")
    assert b"<dc:date>" not in svg.read_bytes()
    assert b"CreationDate" not in pdf.read_bytes()


def test_a_stem_with_a_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"stem must be a path without .*got 'fig8.png'"):
        figures.save_figure(figures.plot_sweep(sweep(), PAPER), tmp_path / "fig8.png")
    assert list(tmp_path.iterdir()) == []


def test_the_picture_has_the_printed_width(tmp_path):
    *_, png = figures.save_figure(figures.plot_sweep(sweep(), PAPER), tmp_path / "fig8")
    height, width, _ = matplotlib.image.imread(png).shape
    assert width == pytest.approx(200 * 7.16, abs=1)
    assert math.isfinite(height)
