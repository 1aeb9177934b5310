"""One page that holds the whole comparison. It needs no other file, no network and no script."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from polyp.report.table import Table

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff;
       max-width: 84rem; margin: 0 auto; padding: 1rem 1.25rem 3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; }
h2 { font-size: 1.35rem; line-height: 1.25; margin-top: 3rem; border-top: 2px solid #0072B2;
     padding-top: .75rem; }
h3 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid;
        font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #555; padding-bottom: .4rem; }
th, td { padding: .3rem .5rem; text-align: right; white-space: nowrap; }
th { border-bottom: 1px solid; vertical-align: bottom; white-space: normal; }
.words { text-align: left; }
td.words { white-space: normal; min-width: 8rem; overflow-wrap: anywhere; }
tbody tr:nth-child(even) { background: #f4f6f8; }
h2, h3 { break-after: avoid; }
figure { margin: 1rem 0; break-inside: avoid; }
img { max-width: 100%; height: auto; display: block; }
figcaption, .notes { color: #555; font-size: .9rem; }
dt { font-weight: 600; margin-top: .5rem; }
dd { margin-left: 1.25rem; overflow-wrap: anywhere; }
summary { cursor: pointer; font-weight: 600; margin-top: 1rem; }
.left-out { border-left: 4px solid #D55E00; padding: .1rem 1rem; background: #fdf3ec; }
code { overflow-wrap: anywhere; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  .wide { overflow: visible; }
  table { font-size: 7pt; }
  th, td { padding: .15rem .25rem; }
  td.words { min-width: 0; }
}
"""

HOW = """
<details open><summary>How the numbers are made</summary>
<ul>
<li>Runs that differ only in their seed are one system. A score of an image is averaged over the
seeds first; means, medians and tests are over the images of the test set.</li>
<li><b>Dice</b>: mean over the images ± standard deviation of that mean over the seeds.
<b>95 % interval</b>: percentile bootstrap, 10,000 resamples of the images, or where they are frames
of videos of whole video sequences, as frames of one sequence are alike. It says how far the mean
would move with other test images (sequences), not with another training.</li>
<li><b>Equivariance</b>: Dice of the rotated mask and the mask of the rotated image, inside the
inscribed disc; mean over images and all angles but 0°, mean at the worst angle, mean at 90°.
<b>Consistency off grid</b>: the same mean over the angles that are not multiples of 90°.
<b>Ceiling</b>: what a perfectly equivariant network would score under the same rotations of pixel
masks; the estimate is conservative.</li>
<li><b>Dice on turned images</b>: of the mask of the rotated image and the rotated truth, inside the
same disc, mean over images and the angles that are not multiples of 90°.</li>
<li><b>Outliers</b>: the images that each run fails on, a number a run.</li>
<li><b>Tests</b>: two-sided Wilcoxon signed-rank test on the images, or where they are frames of
videos on the means of the video sequences, zero differences dropped, and Holm's correction over all
pairs of a table. <b>Rank-biserial</b>: matched-pairs correlation, 1 where A is higher on every
image (sequence), −1 where B is. The interval is of the mean difference, by a bootstrap of images
(sequences). Of outliers it is the difference of their shares, averaged over the runs of a system;
between two single runs, the test on images is McNemar's.</li>
<li><b>Multiply-adds</b>: of the convolutions, an image. <b>Training</b>: mean over the runs.</li>
</ul></details>
"""


@dataclass(frozen=True)
class Part:
    """What the page says of one test set.

    figures: {caption: PNG}. outliers: {system and its counts: the images that it fails on}.
    """

    title: str
    notes: Sequence[str]
    systems: Table
    figures: dict[str, bytes]
    tests: Sequence[Table]
    outliers: dict[str, list[str]]
    outlier_dice: float
    runs: Table


def page(parts: Sequence[Part], left_out: Sequence[str], command: str) -> str:
    """The page as HTML. left_out: a line a run that is not compared, saying why."""
    sections = "\n".join(_section(part) for part in parts)
    separate = (
        "<p>These runs were tested on different images: each test set has a section of its own, "
        "and numbers are not to be compared between them.</p>"
        if len(parts) > 1
        else ""
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>polyp: comparison of runs</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Comparison of runs</h1>
<p>Made by <code>{escape(command)}</code></p>
{separate}
{_left_out(left_out)}
{HOW}
{sections}
</body>
</html>
"""


def _left_out(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<div class="left-out"><p><b>Left out</b></p><ul>{items}</ul></div>'


def _section(part: Part) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in part.notes)
    tests = "\n".join(table.html() for table in part.tests)
    figures = "\n".join(_figure(caption, png) for caption, png in part.figures.items())
    return f"""<section>
<h2>{escape(part.title)}</h2>
<ul class="notes">{notes}</ul>
{part.systems.html()}
{figures}
{f"<h3>Paired tests</h3>{tests}" if tests else ""}
<h3>Outliers: images with a Dice below {part.outlier_dice:g}</h3>
{_outliers(part.outliers)}
<h3>Runs</h3>
{part.runs.html()}
</section>"""


def _figure(caption: str, png: bytes) -> str:
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _outliers(lists: dict[str, list[str]]) -> str:
    entries = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(', '.join(ids)) or 'none'}</dd>"
        for name, ids in lists.items()
    )
    return f"<dl>{entries}</dl>"
