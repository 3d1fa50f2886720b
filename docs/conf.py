"""How the site is built: ``make docs``. The pages are the Markdown files beside this one.

Nothing is loaded from another host when a page is read: the theme's fonts are the system's, the search runs in the
browser, and equations are turned into MathML when the site is built.
"""

import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "src")]

from generated import filled  # noqa: E402 - it stands beside this file

from dogeared import __version__  # noqa: E402

project = "dogeared"
release = version = __version__
html_title = f"dogeared {__version__}"
copyright = "the authors of dogeared; Apache-2.0"  # noqa: A001 - Sphinx's name
html_show_sphinx = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["README.md"]
html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_theme_options = {"source_repository": "", "navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "monokai"

myst_enable_extensions = ["deflist", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3
myst_dmath_double_inline = False

default_role = "code"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_use_rtype = False


def _fill(app: Sphinx, name: str, content: list[str]) -> None:
    content[0] = filled(content[0])


def _link_functions(app: Sphinx, tree: nodes.document) -> None:
    """Let each name of a function or class of ours in the text of the method lead to its documentation."""
    from sphinx.addnodes import pending_xref

    if app.env.docname != "method":
        return
    for literal in list(tree.findall(nodes.literal)):
        name = literal.astext()
        if name.startswith("dogeared."):
            link = pending_xref(
                "",
                refdomain="py",
                reftype="obj",
                reftarget=name,
                refdoc=app.env.docname,
                refwarn=True,
                refexplicit=True,
            )
            literal.replace_self(link)
            # It may be broken behind each dot, where a table is narrow.
            link += nodes.literal("", name.removeprefix("dogeared.").replace(".", ".\u200b"))


def _inline_math(writer: Any, node: nodes.math) -> None:
    writer.body.append(_mathml(node, as_block=False))
    raise nodes.SkipNode


def _block_math(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="equation">{_mathml(node, as_block=True)}</div>')
    raise nodes.SkipNode


def _mathml(node: nodes.Node, *, as_block: bool) -> str:
    try:
        return tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        logging.getLogger(__name__).warning("an equation cannot be shown: %s", error, location=node)
        return ""


def setup(app: Sphinx) -> dict[str, Any]:
    """Add what is ours to the builder."""
    app.add_html_math_renderer("mathml", (_inline_math, None), (_block_math, None))
    app.connect("source-read", _fill)
    app.connect("doctree-read", _link_functions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
