"""Checks that a copy of a published dataset is complete and unchanged.

checksums/NAME.txt has a line per pair: its id, and the first digits of the digests of the decoded
image and mask, so that PNG and TIFF copies agree.
"""

from functools import cache
from importlib.resources import files

from polyp.data.datasets import Dataset
from polyp.data.prepared import Prepared
from polyp.errors import UserError

DIGITS = 8  # of a digest, in the lists
HINT = "data.partial=true accepts that"


def check_count(dataset: Dataset) -> None:
    """Raises UserError if a dataset has another number of samples than was published."""
    found, expected = len(dataset.samples()), dataset.expected
    if expected is not None and found != expected:
        raise UserError(f"{dataset.name}: {found} of {expected} images; {HINT}")


def check_content(dataset: Dataset, prepared: Prepared) -> None:
    """Raises UserError if a dataset with checksums differs from the published one.

    Args:
        dataset: of any kind; most have no checksums.
        prepared: its images and masks.
    """
    published = checksums(dataset.name)
    if not published:
        return
    different = []
    for sample, digests in zip(prepared.samples, prepared.digests.tolist(), strict=True):
        known = published.get(sample.id, ("", ""))
        pairs = zip((sample.image, sample.mask), digests, known, strict=True)
        different += [file for file, digest, other in pairs if digest[:DIGITS] != other]
    if different:
        files = "file differs" if len(different) == 1 else "files differ"
        raise UserError(
            f"{dataset.name}: {len(different)} {files} from the published dataset, the first is "
            f"{different[0]}; get it again, or {HINT}"
        )


@cache
def checksums(name: str) -> dict[str, tuple[str, str]]:
    """The digests of image and mask by id; none where they are not known."""
    path = files("polyp.data").joinpath("checksums", f"{name}.txt")
    if not path.is_file():
        return {}
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {id: (image, mask) for id, image, mask in lines}
