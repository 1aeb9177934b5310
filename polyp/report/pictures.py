"""The viewer of a test set, and pictures of the images on which most runs fail."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from polyp.errors import UserError
from polyp.evaluation import Example, examples
from polyp.evaluation.figures import overlay
from polyp.names import dataset_name
from polyp.report.run import Run
from polyp.report.sections import Section
from polyp.runs.folder import RunFolder
from polyp.viewer.networks import COLOURS, choose_images, open_network, shared_test_set
from polyp.viewer.view import make_page

MAX_FAILED = 20


@dataclass(frozen=True)
class Failed:
    """A test image on which runs fail.

    Attributes:
        id: id of the image.
        picture: the image as a JPEG.
        found: for each pictured system the Dice of its first run and, as a JPEG, its mask over the
            true mask; colours as in `polyp.evaluation.figures.overlay`.
    """

    id: str
    picture: bytes
    found: list[tuple[float, bytes]]


@dataclass(frozen=True)
class Pictures:
    """Attributes:
    systems: labels of the pictured systems, in the order of the tables.
    viewer: the page of `polyp view`.
    failed: the images on which most runs fail.
    """

    systems: list[str]
    viewer: str
    failed: list[Failed]


def make_pictures(section: Section, failing: Sequence[str]) -> Pictures:
    """Pictures of the first run of each system, of as many systems as fit the viewer.

    Args:
        section: the test set; its runs must have checkpoints, and their dataset must exist.
        failing: ids of the images on which runs fail; the first MAX_FAILED are pictured.

    Raises:
        UserError: a run has no checkpoint, or was tested on something else than the test part of
            its own split; or the test images are missing or were prepared differently.
    """
    systems = section.systems[: len(COLOURS)]
    runs = [_with_checkpoint(system.first) for system in systems]
    test_set = shared_test_set(runs, root=None)
    networks = [
        replace(open_network(run, "auto"), name=system.label)
        for run, system in zip(runs, systems, strict=True)
    ]
    chosen = choose_images(networks, asked=None)
    dataset = dataset_name(runs[0].choices["data"])
    viewer = make_page(networks, test_set.batches(), chosen, dataset)
    failed = {image: image for image in failing[:MAX_FAILED]}
    by_system = [
        examples(each.model, each.task, test_set.batches(), failed, each.device, angles=())
        for each in networks
    ]
    pictures = [_failed(same) for same in zip(*by_system, strict=True)]
    return Pictures([system.label for system in systems], viewer, pictures)


def _with_checkpoint(run: Run) -> RunFolder:
    """The folder of a run that was tested on its own test images; for a later evaluation, the
    folder of the evaluated run."""
    folder = RunFolder(run.folder)
    trained = folder.trained if folder.finished else folder  # an archived run has no folder
    if not trained.best.is_file():
        raise UserError(f"{run.folder} has no checkpoint")
    if run.data != run.trained_on or set(run.images) != set(trained.split()["test"]):
        raise UserError(f"{run.folder} was tested on other images than the test part of its split")
    return RunFolder.open(trained.path)


def _failed(same: Sequence[Example]) -> Failed:
    """One image, with the mask of each network."""
    first = same[0]
    found = [
        (each.dice, _jpeg(overlay(each.image, each.prediction, each.truth, each.valid)))
        for each in same
    ]
    return Failed(first.id, _jpeg(first.image), found)


def _jpeg(picture: np.ndarray) -> bytes:
    """A picture float [S, S, 3] in [0, 1] as a JPEG."""
    stream = io.BytesIO()
    pixels = (255 * picture).round().astype(np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", quality=90, subsampling=0)
    return stream.getvalue()
