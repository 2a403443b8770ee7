"""How Sphinx makes the documentation: `make docs` writes it to build/docs, from the Markdown here and from the code."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

# No page needs an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.Array.__name__ = jax.Array.__qualname__ = "Array"  # else signatures name a module of its inside

import mecpart  # noqa: E402

project = "mecpart"
version = release = mecpart.__version__
author = "The mecpart developers"
project_copyright = f"{author}, MIT licence"
html_title = "mecpart"

extensions = ["myst_parser", "sphinx.ext.autodoc", "markdown", "reference"]
exclude_patterns = ["_extensions"]
nitpicky = True
# Types of other libraries are shown as they are: their documentation lies on a network.
nitpick_ignore_regex = [("py:.*", r"(?!mecpart\.).*")]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
smartquotes = False
toc_object_entries = False

html_theme = "furo"
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False
# Excerpts would be fetched, which browsers refuse to pages that are read from a disk.
html_show_search_summary = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
