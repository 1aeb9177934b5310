"""The samples of a dataset."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One image with its mask.

    Attributes:
        id: unique name within the dataset, the one in `split.json` and `scores.csv`.
        image: file of the image; None where it is generated.
        mask: file of the mask; None where it is generated.
        twin: samples with the same non-empty twin are near copies, which splits keep together.
        group: the video sequence or patient of the image; None if unknown.
    """

    id: str
    image: Path | None = None
    mask: Path | None = None
    twin: str = ""
    group: str | None = None
