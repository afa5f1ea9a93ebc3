"""Sphinx: the pages of this folder and the docstrings of the package, as one site (``make docs``)."""

from importlib import metadata

project = "unshuffle"
copyright = "the unshuffle developers"
release = metadata.version("unshuffle")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
html_theme = "furo"
html_title = "unshuffle"
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
