"""Where the notebooks, the how-tos and the published values lie: in the repository, or inside an installed wheel.

An editable installation works on the checkout itself. A wheel carries `notebooks/`, `docs/` and
`data/published/` in `mecpart/_repository/` (see pyproject.toml), laid out as in the checkout.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_BUNDLED = _PACKAGE / "_repository"


def _root() -> Path:
    return _BUNDLED if _BUNDLED.is_dir() else _PACKAGE.parent


def notebooks_folder() -> Path:
    """Folder of the notebooks that `mecpart reproduce` runs."""
    return _root() / "notebooks"


def docs_folder() -> Path:
    """Folder of the how-tos that the documentation is made of."""
    return _root() / "docs"


def data_folder() -> Path:
    """Folder of the data that come with the package; the paper's values are in its folder `published`."""
    return _root() / "data"


def default_output() -> Path:
    """Folder that results are written under unless told otherwise: the checkout, or else the current one."""
    return Path.cwd() if _BUNDLED.is_dir() else _PACKAGE.parent
