"""Where the notebooks and the data lie: in the repository, or inside an installed wheel.

An editable installation works on the checkout itself. A wheel carries `notebooks/` and `data/`
in `mecpart/_repository/` (see pyproject.toml), laid out as in the checkout.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_BUNDLED = _PACKAGE / "_repository"


def _root() -> Path:
    return _BUNDLED if _BUNDLED.is_dir() else _PACKAGE.parent


def notebooks_folder() -> Path:
    """Folder of the notebooks that `mecpart reproduce` runs."""
    return _root() / "notebooks"


def data_folder() -> Path:
    """Folder of the data that come with the package; the paper's values are in its folder `published`."""
    return _root() / "data"


def default_output() -> Path:
    """Folder that results are written under unless told otherwise: the checkout, or else the current one."""
    return Path.cwd() if _BUNDLED.is_dir() else _PACKAGE.parent


def built_docs() -> Path | None:
    """Folder of the documentation, where `make docs` has written it; None if it has not, or there is no checkout."""
    folder = _PACKAGE.parent / "build" / "docs"
    return folder if (folder / "index.html").exists() and not _BUNDLED.is_dir() else None


def output_folder(given: str | Path | None) -> Path:
    """The absolute path of the folder that results are written under, if it is `given` or by default.

    **Raises:** `ValueError` if it cannot be one: it is a file, cannot be named, or holds what results are made from.
    """
    try:
        output = default_output() if given is None else Path(given).resolve()
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        why = "the current folder was removed" if isinstance(error, FileNotFoundError) else error
        raise ValueError(f"output must be a folder; {given!r} cannot be one: {why}") from None
    if output.exists() and not output.is_dir():
        raise ValueError(f"output must be a folder; {output} is a file")
    for source in (_PACKAGE, notebooks_folder(), data_folder() / "published"):
        if output.is_relative_to(source):
            raise ValueError(f"output must not be inside {source}, which results are made from; got {output}")
    return output
