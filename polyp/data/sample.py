"""What every dataset hands out: samples, named by id."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One image with its mask.

    Attributes:
        id: unique name within the dataset, the one in `split.json` and `scores.csv`.
        image: file of the image; None where it is generated.
        mask: file of the mask; None where it is generated.
        twin: samples that share a non-empty twin are near copies: no split separates them.
        group: the video sequence or patient that the image is of; None where it is not known.
    """

    id: str
    image: Path | None = None
    mask: Path | None = None
    twin: str = ""
    group: str | None = None
