"""Sphinx configuration."""

project = "Firstlight"
author = "The Firstlight developers"
copyright = "2026, the Firstlight developers"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = "Firstlight"
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
default_role = "code"
autodoc_typehints = "description"
doctest_test_doctest_blocks = ""  # docstrings are run by pytest
