"""How Sphinx builds the site: `make docs` writes it to build/docs."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

import ncp_control  # noqa: E402 - after the path is set

project = "ncp-control"
author = "The ncp-control authors"
copyright = "The ncp-control authors, Apache License 2.0"
release = ncp_control.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docstrings",
    "mathml",
    "notebooks",
    "outside_links",
    "reference_pages",
]
exclude_patterns = ["_ext", "_static"]
suppress_warnings = ["ref.python"]  # `range` in a signature could be an attribute of that name

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 72
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
add_module_names = False

html_theme = "furo"
html_title = "ncp-control"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
pygments_style = "a11y-high-contrast-light"  # others have letters too pale to be read
