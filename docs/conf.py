"""Sphinx configuration: sphinx-build -W --keep-going -b html docs docs/_build/html."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import edfast  # noqa: E402

project = "edfast"
author = "the edfast developers"
copyright = f"2026, {author}"
version = release = edfast.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
smartquotes = False
default_role = "py:obj"
add_module_names = False
autosummary_generate = True
autodoc_typehints = "none"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = f"edfast {release}"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["edfast.css"]
html_sidebars = {"*": []}  # the sections of a page are on its right; only the API has pages below pages
html_theme_options = {
    "header_links_before_dropdown": 9,
    "show_prev_next": False,
    "navigation_with_keys": False,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "secondary_sidebar_items": {"*": ["page-toc"], "api/index": ["page-toc"], "api/generated/*": []},
}


def make(_app):
    """What the pages show and nobody should have to copy: pictures, the table of cameras, the changes."""
    from figures import camera_table, make_all

    make_all(HERE / "_build" / "figures")
    camera_table(HERE / "_build" / "cameras.csv")
    _, *versions = (HERE.parent / "CHANGELOG.md").read_text().split("\n## ")
    parts = (version.partition("\n") for version in versions)
    (HERE / "_build" / "changes.rst").write_text("\n".join(f"{title}\n{'-' * len(title)}\n{text}" for title, _, text in parts))


def skip(_app, _what, _name, thing, skipped, _options):
    """Leave out what named tuples say of their fields ("Alias for field number 0"): the class docstring says it."""
    return True if type(thing).__name__ == "_tuplegetter" else skipped


def setup(app):
    """Have that done when it is needed."""
    app.connect("builder-inited", make)
    app.connect("autodoc-skip-member", skip)
