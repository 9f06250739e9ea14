"""The documentation site. `nox -s docs` builds it into docs/_build/html; a warning is an error."""

import re

from docutils import nodes
from docutils.utils import new_document
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from iris_cli import __version__

project = "IRIS"
author = "The IRIS developers"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx_copybutton"]
exclude_patterns = ["_build"]

# Markdown: formulas between dollars, links to headings by the name that GitHub gives them.
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 4

# Pages of the Python interface, in docs/api/, are made from signatures and docstrings.
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"IRIS {release}"
html_show_copyright = False
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"


class Markdown(SphinxDirective):
    """Its content is Markdown, in a page that is otherwise reStructuredText."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        document = new_document(self.get_source_info()[0], self.state.document.settings)
        MystParser().parse("\n".join(self.content), document)
        return document.children


def as_markdown(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are Markdown with numpydoc's sections; autodoc takes reStructuredText."""
    text, *sections = re.split(r"^(\w[\w ]*)\n-{3,}\n", "\n".join(lines), flags=re.M)
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        definitions = re.sub(r"^(\S.*)\n    ", r"\n`\1`\n:   ", body, flags=re.M)
        text += f"**{title}**\n\n{definitions}\n"
    text = re.sub(r"^>>> .*(?:\n.+)*", lambda match: f"```pycon\n{match[0]}\n```", text, flags=re.M)
    lines[:] = [".. markdown::", "", *(f"   {line}" for line in text.splitlines()), ""]


def as_written(
    app: Sphinx, what: str, name: str, obj: object, options: object, arguments: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Signatures as in the source: `NDArray[int64]`, not `ndarray[tuple[Any, ...], dtype[int64]]`; no module names."""

    def short(text: str | None) -> str | None:
        text = text and re.sub(r"~(?:\w+\.)+", "", text)
        text = text and re.sub(r"ndarray\[tuple\[Any, \.\.\.\], dtype(\[\w+\])\]", r"NDArray\1", text)
        return text and text.replace("NDArray[_ScalarT]", "NDArray").replace("<factory>", "...")

    return short(arguments), short(returns)


def setup(app: Sphinx) -> None:
    app.add_directive("markdown", Markdown)
    app.connect("autodoc-process-docstring", as_markdown)
    app.connect("autodoc-process-signature", as_written)
