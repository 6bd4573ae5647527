"""Settings of Sphinx. Warnings are errors (``tox -e check``), and nothing is loaded from elsewhere."""

from hpcgate import __version__

project = "hpcgate"
copyright = "the hpcgate authors"  # noqa: A001 - Sphinx calls it so
version = release = __version__

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
exclude_patterns = ["_build", "examples"]
nitpicky = True

html_theme = "furo"
html_title = f"hpcgate {__version__}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sphinx = False
html_copy_source = False
