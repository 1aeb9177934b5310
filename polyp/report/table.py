"""A table once, for people and for programs: CSV, Markdown, LaTeX, HTML."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

# What LaTeX takes as commands, or pdfTeX's fonts lack.
LATEX = {
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


@dataclass(frozen=True)
class Table:
    """what: it shows; of: which test set. header, rows: formatted cells, the first `words` columns
    words and the others numbers. records: the same unformatted, for CSV."""

    what: str
    of: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    records: Sequence[dict[str, Any]]
    words: int = 1

    def csv(self) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(
            text, self.records[0] if self.records else self.header, lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(self.records)
        return text.getvalue()

    def markdown(self) -> str:
        rule = ["---" if column < self.words else "---:" for column in range(len(self.header))]
        lines = [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
            for cells in (self.header, rule, *self.rows)
        ]
        return "\n".join([f"{self.what}. {self.of}.", "", *lines, ""])

    def latex(self) -> str:
        """A floating table for LaTeX, across both columns of a page that has two."""
        columns = "l" * self.words + "r" * (len(self.header) - self.words)
        header, *rows = (
            "  " + " & ".join(_latex(cell) for cell in cells) + r" \\"
            for cells in (self.header, *self.rows)
        )
        return "\n".join(
            [
                "% needs \\usepackage{booktabs,graphicx}",
                "\\begin{table*}",
                "\\centering\\small",
                f"\\caption{{{_latex(self.what)}. {_latex(self.of)}.}}",
                # Shrunk to the page where it is wider, and not widened where it is not.
                "\\resizebox{\\ifdim\\width>\\textwidth\\textwidth\\else\\width\\fi}{!}{%",
                f"\\begin{{tabular}}{{{columns}}}",
                "\\toprule",
                header,
                "\\midrule",
                *rows,
                "\\bottomrule",
                "\\end{tabular}}",
                "\\end{table*}",
                "",
            ]
        )

    def html(self) -> str:
        """A table whose caption leaves the test set to the heading above it."""

        def line(tag: str, cells: Sequence[str]) -> str:
            marked = (
                f"<{tag}{' class=words' if column < self.words else ''}>{escape(cell)}</{tag}>"
                for column, cell in enumerate(cells)
            )
            return "<tr>" + "".join(marked) + "</tr>"

        return "\n".join(
            [
                '<div class="wide"><table>',
                f"<caption>{escape(self.what)}</caption>",
                f"<thead>{line('th', self.header)}</thead>",
                "<tbody>",
                *(line("td", row) for row in self.rows),
                "</tbody></table></div>",
            ]
        )


def _latex(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in text)
