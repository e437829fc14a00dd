"""How the documentation is built: `make docs`. Without the network; every warning is an error."""

from __future__ import annotations

from importlib import metadata

from acecausal.cube import schema

project = "acecausal"
author = "The acecausal developers"
version = release = metadata.version("acecausal")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"{project} {release}"
html_show_copyright = False
html_copy_source = False

smartquotes = False  # "--model" must stay what one types
myst_enable_extensions = ["substitution"]
myst_heading_anchors = 3
#: The page of the schema is written from the schema.
myst_substitutions = {
    "variables": schema.markdown(),
    "coordinates": "\n".join(
        ["| coordinate | along |", "|---|---|"]
        + [f"| `{name}` | {', '.join(dims)} |" for name, dims in schema.COORDINATES.items()]
    ),
    "labels": "\n".join(
        ["| dimension | labels |", "|---|---|"]
        + [f"| `{dim}` | {', '.join(f'`{label}`' for label in labels)} |" for dim, labels in schema.LABELS.items()]
    ),
    "attrs": ", ".join(f"`{name}`" for name in schema.ATTRS),
    "schema_version": str(schema.VERSION),
}

napoleon_google_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say shapes and units besides
