"""Sphinx's settings for the site of the lessons; scripts/build_site.py stages the pages and calls it."""

project = "cdpo_edu"
author = "The cdpo_edu authors"
html_title = "cdpo_edu: preferences under a limit"
extensions = ["myst_nb"]
nb_execution_mode = "off"  # the committed outputs are shown; nothing is computed
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 4
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_extra"]
suppress_warnings = ["myst.header"]  # a page may open with an aside a level down
html_theme = "furo"
html_extra_path = ["_extra"]  # the explorer's page
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
html_use_index = False  # nothing here fills an index of names
html_show_copyright = False  # the licence is on the front page's README
