"""Fills the templates: the page as HTML, tables as Markdown and LaTeX."""

import base64
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

# Characters that are commands in LaTeX, or are missing in the fonts of pdfTeX.
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "−": "$-$",
        "±": r"$\pm$",
        "°": r"$^\circ$",
        "–": "--",
        "…": r"\dots{}",
        "½": r"$\frac12$",
    }
)

PLAIN = Environment(
    loader=PackageLoader("polyp.report"),
    undefined=StrictUndefined,  # a misspelt name is an error
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,
)
HTML = PLAIN.overlay(autoescape=True)
# Braces and percent signs are LaTeX's own.
TEX = PLAIN.overlay(
    block_start_string="<%",
    block_end_string="%>",
    variable_start_string="<<",
    variable_end_string=">>",
    comment_start_string="<#",
    comment_end_string="#>",
)
PLAIN.filters["pipe"] = lambda text: text.replace("|", "\\|")
PLAIN.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
PLAIN.filters["latex"] = lambda text: text.translate(LATEX)


def render(template: str, **values: Any) -> str:
    """A filled template of the folder templates; values in HTML are escaped."""
    environment = {"html": HTML, "tex": TEX}.get(template.rsplit(".", 1)[-1], PLAIN)
    return environment.get_template(template).render(values)
