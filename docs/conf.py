"""Settings of Sphinx: `make docs` builds the site into `build/docs`."""

import sys
from pathlib import Path

import jaxconv

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "jaxconv"
author = "the authors of jaxconv"
release = version = jaxconv.__version__
language = "en"
smartquotes_action = "D"  # dashes alone: quotes are parts of names, as in "auto" and y'

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "docstrings",
    "repository",
]
exclude_patterns = ["extensions"]
highlight_language = "none"
nitpicky = True
# libraries outside this site, and what docstrings say in place of a type
nitpick_ignore_regex = [(r"py:(class|exc)", r".*")]

myst_heading_anchors = 3

# argument types are told by the text: shapes and dtypes
autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Source"]

html_theme = "sphinx_book_theme"
html_title = "jaxconv"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_theme_options = {
    "navbar_persistent": [],  # the search is in the sidebar
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}
copybutton_prompt_text = ">>> "
copybutton_exclude = ".linenos, .gp, .go"
