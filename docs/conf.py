"""Settings of Sphinx: ``make docs`` builds the pages of this folder as a site."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # generated.py is here

project = "frivkit"
copyright = "the frivkit developers"  # noqa: A001  # Sphinx names it so
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "generated",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "changes/*.*.md"]

html_theme = "furo"
html_title = "frivkit"
html_show_copyright = False
html_show_sourcelink = False
html_static_path = ["style"]
html_css_files = ["site.css"]
html_theme_options = {"top_of_page_buttons": []}
smartquotes = False  # or --trust would get a dash in place of its hyphens

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autodoc_typehints = "description"
autodoc_member_order = "bysource"
