"""How tables are written: CSV for machines, booktabs LaTeX and HTML for readers, all from one frame.

CSV keeps every digit and the column names as they are. LaTeX and HTML show four significant digits and
headings with the unit in brackets. Every file is written under a temporary name and moved into place, so
that an interrupted run never leaves half a table.
"""

import math
import shlex
from collections.abc import Callable, Collection
from pathlib import Path

import pandas as pd

from mecpart.files import write_atomically

FORMATS = ("csv", "tex", "html")

UNDEFINED = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"

_UNITS = {"_s": "s", "_j": "J", "_percent": "%", "_bytes": "bytes"}
_WORDS = {"num": "number of", "iqm": "IQM"}


def heading(column: str) -> str:
    """A column name as a heading: "total_delay_s" -> "total delay [s]", "gap_percent" -> "gap [%]"."""
    suffix = next((suffix for suffix in _UNITS if column.endswith(suffix)), "")
    words = column.removesuffix(suffix).split("_")
    text = " ".join(_WORDS.get(word, word) for word in words)
    return f"{text} [{_UNITS[suffix]}]" if suffix else text


def format_number(value: float) -> str:
    """Four significant digits, no exponent between 1e-4 and 1e15, and a dash for what is undefined."""
    if math.isnan(value):
        return UNDEFINED
    if math.isinf(value) or value == 0:
        return f"{value:g}".replace("-", _MINUS)
    digits = 3 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    if not 1e-4 <= abs(rounded) < 1e15:
        return f"{value:.3e}".replace("-", _MINUS)
    text = f"{rounded:,.{max(digits, 0)}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace(",", _THIN_SPACE).replace("-", _MINUS)


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as readers see it: every cell a string, every column a heading."""
    shown = pd.DataFrame(index=frame.index)
    for column in frame:
        values = frame[column]
        if pd.api.types.is_float_dtype(values):
            shown[heading(column)] = [format_number(float(value)) for value in values]
        else:
            shown[heading(column)] = [UNDEFINED if pd.isna(value) else str(value) for value in values]
    return shown


def write_table(frame: pd.DataFrame, stem: str | Path, formats: Collection[str] = FORMATS) -> tuple[Path, ...]:
    """Write `frame` as CSV and, from the same frame, as booktabs LaTeX and HTML.

    **Arguments:**

    - `frame`: one row per record, units in the column names; its index is not written.
    - `stem`: path without a suffix; its folder is created.
    - `formats`: some of "csv", "tex" and "html"; CSV is always written.

    **Returns:** the paths written, CSV first.

    **Raises:** `ValueError`, before anything is written, for an unknown format, a column name that is not a
    string or occurs twice, or a stem that ends in one of the suffixes.
    """
    stem = Path(stem)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ValueError(f"formats must be among {', '.join(FORMATS)}; got {', '.join(map(str, unknown))}")
    if stem.suffix.removeprefix(".") in FORMATS:
        raise ValueError(f"stem must be a path without one of the suffixes {', '.join(FORMATS)}; got {stem.name!r}")
    names = list(frame.columns)
    if any(not isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ValueError(f"frame must have distinct strings as column names; got {names}")
    writers: dict[str, Callable[[Path], object]] = {
        "csv": lambda path: frame.to_csv(path, index=False, lineterminator="\n"),
        "tex": lambda path: path.write_text(to_latex(frame), encoding="utf-8"),
        "html": lambda path: path.write_text(to_html(frame), encoding="utf-8"),
    }
    return tuple(
        write_atomically(stem.with_name(f"{stem.name}.{name}"), writers[name])
        for name in FORMATS
        if name == "csv" or name in formats
    )


# Also what the default font encoding has no character for, or another one.
_LATEX = {UNDEFINED: "--", _MINUS: "$-$", _THIN_SPACE: r"\,", "<": "$<$", ">": "$>$", "|": "$|$"}


def to_latex(frame: pd.DataFrame) -> str:
    """The frame as a booktabs `tabular` (needs `\\usepackage{booktabs}`), numbers aligned to the right."""
    alignment = "".join("r" if pd.api.types.is_numeric_dtype(frame[column]) else "l" for column in frame)
    latex = _shown(frame).to_latex(index=False, escape=True, column_format=alignment)
    for character, command in _LATEX.items():
        latex = latex.replace(character, command)
    return latex


def to_html(frame: pd.DataFrame) -> str:
    """The frame as an HTML `table` of class "mecpart", without styling of its own."""
    return _shown(frame).to_html(index=False, border=0, classes="mecpart", justify="left") + "\n"


def read_results(folder: str | Path, names: Collection[str], *, notebook: str | None = None) -> pd.DataFrame:
    """The results of those experiments in `names` that have been run, from the CSV files of the notebooks.

    **Arguments:**

    - `folder`: `<output>/data/results/<profile>/<scenario>`.
    - `notebook`: the one that asks, which knows nothing without them.

    **Raises:** `ValueError` naming what could be there, if none of them is; and the command that runs what `notebook`
    needs.
    """
    paths = [Path(folder) / f"{name}.csv" for name in names]
    found = [pd.read_csv(path) for path in paths if path.exists()]
    if not found:
        told = f"folder must hold results of at least one of {', '.join(names)}; found none in {folder}"
        raise ValueError(f"{told}; {_command(Path(folder), notebook)} runs them" if notebook else told)
    return pd.concat(found, ignore_index=True)


def _command(folder: Path, notebook: str) -> str:
    """What to type to get the results that a notebook needs into a folder of results."""
    output, scenario, profile = folder.resolve().parents[3], folder.name, folder.parent.name
    chosen = ["--only", notebook, "--profile", profile, "--scenario", scenario, "--output", str(output)]
    return shlex.join(["mecpart", "reproduce", *chosen])
