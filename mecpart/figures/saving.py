"""Figures as files."""

import os
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from mecpart.figures.style import STYLE
from mecpart.files import write_atomically

_METADATA: dict[str, dict] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}


def save_figure(figure: Figure, stem: str | Path) -> tuple[Path, ...]:
    """Write `figure` as SVG, PDF and PNG; the same figure gives the same bytes, for no date is written.

    **Arguments:** `stem`: path without a suffix; its folder is created.

    **Returns:** the three paths.

    **Raises:** `ValueError` if `figure` is none of matplotlib's, or `stem` no path or one that ends in one of the
    suffixes.
    """
    if not isinstance(figure, Figure):
        raise ValueError(f"figure must be a matplotlib Figure; got {type(figure).__name__}")
    if not isinstance(stem, str | os.PathLike):
        raise ValueError(f"stem must be a path; got {stem!r}")
    stem = Path(stem)
    if stem.suffix.removeprefix(".") in _METADATA:
        raise ValueError(f"stem must be a path without one of the suffixes {', '.join(_METADATA)}; got {stem.name!r}")
    with plt.style.context(STYLE):
        return tuple(
            write_atomically(
                stem.with_name(f"{stem.name}.{kind}"), partial(figure.savefig, format=kind, metadata=metadata)
            )
            for kind, metadata in _METADATA.items()
        )
