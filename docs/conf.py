"""Sphinx settings; built with `make docs`, where a warning is an error."""

import re
from importlib.metadata import version as installed

project = "metashot"
author = "metashot contributors"
copyright = "2026, metashot contributors"
version = release = installed("metashot")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "metashot"

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes stay in their list: as directives they would be described twice


def plain_docstring(app, what, name, obj, options, lines):
    """Docstrings are plain text with `code`: escape what reStructuredText would read as markup, outside examples."""
    example = False
    for i, line in enumerate(lines):
        example = bool(line.strip()) and (example or line.lstrip().startswith(">>>"))
        if not example:
            parts = re.split(r"(`+[^`]+`+)", line)
            parts[::2] = [
                re.sub(r"(?<!\w)\*+(?=\w)|\*\*|\|", lambda found: "".join(rf"\{c}" for c in found[0]), text) for text in parts[::2]
            ]
            parts[::2] = [re.sub(r"(?<=\w)_(?!\w)", r"\_", text) for text in parts[::2]]
            parts[1::2] = [f"``{code.strip('`')}``" for code in parts[1::2]]
            lines[i] = "".join(parts)


def setup(app):
    app.connect("autodoc-process-docstring", plain_docstring, priority=400)  # before napoleon, which adds markup of its own
