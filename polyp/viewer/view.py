"""Makes the page: one HTML file that needs no server and no network."""

import base64
import io
import logging
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from omegaconf import DictConfig
from PIL import Image

from polyp.deploy.output import writing
from polyp.errors import UserError
from polyp.evaluation import Example, Turned, examples
from polyp.evaluation.figures import DIFFERENCES, differences
from polyp.files import atomic_path
from polyp.names import dataset_name
from polyp.runs.find import find_runs
from polyp.runs.folder import RunFolder
from polyp.runs.test_sets import TestSet
from polyp.viewer.networks import Network, choose_images, open_network, shared_test_set

log = logging.getLogger(__name__)

# A line each; none of them is a colour of the masks. From Okabe and Ito (2008), and black.
COLOURS = ("#0072B2", "#CC79A7", "#009E73", "#E69F00", "#000000", "#8C6D31")

# Flags of a pixel, beside the value of `polyp.evaluation.figures.differences` in its lowest bits.
COMPARED, TRUTH = 4, 8


def view(config: DictConfig) -> None:
    """Writes the page of some runs.

    Args:
        config: configs/view.yaml.

    Raises:
        UserError: there is no finished run, or the runs share no test images.
    """
    runs = [RunFolder.open(run.path) for run in find_runs(config.runs)]
    if len(runs) > len(COLOURS):
        raise UserError(f"runs={config.runs}: {len(runs)} runs; at most {len(COLOURS)} fit a page")
    test_set = shared_test_set(runs, config.data.root)
    networks = [open_network(run, config.device) for run in runs]
    asked = None if config.images is None else [str(image) for image in config.images]
    chosen = choose_images(networks, asked)
    page = make_page(networks, test_set, chosen, config.step)
    with writing(str(config.output)), atomic_path(Path(str(config.output))) as temporary:
        temporary.write_text(page, encoding="utf-8")
    log.info("page written to %s", config.output)


def make_page(
    networks: Sequence[Network],
    test_set: TestSet,
    chosen: Mapping[str, str],
    step: int = 5,
) -> str:
    """The page as HTML.

    Args:
        networks: at most as many as there are COLOURS.
        test_set: what they were tested on, see `shared_test_set`.
        chosen: ids of its images by label, see `choose_images`.
        step: degrees between two angles.
    """
    angles = list(range(0, 360, step))
    shown = [
        examples(network.model, network.task, test_set.batches(), chosen, network.device, angles)
        for network in networks
    ]
    content = {
        "angles": angles,
        "size": test_set.data.image_size,
        "networks": [
            {**summary, "colour": colour}
            for summary, colour in zip(summaries(networks), COLOURS, strict=False)
        ],
        "images": [_image(same) for same in zip(*shown, strict=True)],
    }
    return _render(content, dataset_name(networks[0].run.choices["data"]))


def summaries(networks: Sequence[Network]) -> list[dict[str, Any]]:
    """Name and means of each network; the name says the run's folder too where names are equal."""
    names = [network.name for network in networks]
    return [
        {
            "name": name if names.count(name) == 1 else f"{name} ({network.run.path.name})",
            "images": len(network.dice),
            "dice": network.dice.mean(),
            "consistency": _number(network.consistency.mean()),
        }
        for name, network in zip(names, networks, strict=True)
    ]


def _image(same: Sequence[Example]) -> dict[str, Any]:
    """One test image, with what each network finds."""
    first = same[0]
    return {
        "label": first.label,
        "id": first.id,
        "picture": _png(first.image),
        "found": [
            {
                "dice": [turned.dice for turned in example.turned],
                "consistency": [_number(turned.consistency) for turned in example.turned],
                "masks": pack([pixels(turned) for turned in example.turned]),
            }
            for example in same
        ],
    }


def pixels(turned: Turned) -> np.ndarray:
    """What the page draws of a turned image, uint8 [S, S]: where its masks differ, plus COMPARED in
    the region of the comparison, plus TRUTH in the true mask."""
    which = differences(turned.found, turned.rotated, turned.region)
    flags = COMPARED * turned.region + TRUTH * turned.truth.any(axis=0)
    return which + flags.astype(np.uint8)


def pack(frames: Sequence[np.ndarray]) -> str:
    """Frames uint8 [S, S] as text: zlib, which browsers read, in base64."""
    return base64.b64encode(zlib.compress(np.stack(frames).tobytes(), 9)).decode("ascii")


def _number(value: float) -> float | None:
    """JSON knows no nan."""
    return None if np.isnan(value) else float(value)


def _png(image: np.ndarray) -> str:
    """A picture float [S, S, 3] in [0, 1] as the address of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray((255 * image).round().astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _render(content: dict[str, Any], dataset: str) -> str:
    environment = Environment(
        loader=PackageLoader("polyp.viewer", "page"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    values = {"COMPARED": COMPARED, "TRUTH": TRUTH, "colours": DIFFERENCES}
    return environment.get_template("page.html").render(content=content, dataset=dataset, **values)
