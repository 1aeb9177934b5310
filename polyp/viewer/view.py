"""Makes the page: one HTML file that holds all it shows."""

import base64
import io
import logging
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from omegaconf import DictConfig
from PIL import Image

from polyp.deploy.output import writing
from polyp.evaluation import Example, Turned, examples
from polyp.evaluation.figures import DIFFERENCES, differences
from polyp.files import atomic_path
from polyp.names import dataset_name
from polyp.viewer.networks import (
    COLOURS,
    Network,
    choose_images,
    open_network,
    open_runs,
    shared_test_set,
)

log = logging.getLogger(__name__)

# Flags of a pixel, beside the value of `polyp.evaluation.figures.differences` in its lowest bits.
COMPARED, TRUTH = 4, 8
FLAGS = {"COMPARED": COMPARED, "TRUTH": TRUTH, "colours": DIFFERENCES}


def view(config: DictConfig) -> None:
    """Writes the page of some runs.

    Args:
        config: configs/view.yaml.

    Raises:
        UserError: there is no finished run, or the runs share no test images.
    """
    runs = open_runs(config.runs)
    test_set = shared_test_set(runs, config.data.root)
    networks = [open_network(run, config.device) for run in runs]
    asked = None if config.images is None else [str(image) for image in config.images]
    chosen = choose_images(networks, asked)
    dataset = dataset_name(runs[0].choices["data"])
    page = make_page(networks, test_set.batches(), chosen, dataset, config.step)
    with writing(str(config.output)), atomic_path(Path(str(config.output))) as temporary:
        temporary.write_text(page, encoding="utf-8")
    log.info("page written to %s", config.output)


def make_page(
    networks: Sequence[Network],
    batches: Iterable[dict],
    chosen: Mapping[str, str],
    dataset: str,
    step: int = 5,
    without_mask: Collection[str] = (),
    back: str | None = None,
) -> str:
    """The page as HTML.

    Args:
        networks: at most as many as there are COLOURS.
        batches: of images, as in `polyp.evaluation.evaluate`; read again for each network.
        chosen: ids of the images to show, by label; see `choose_images`.
        dataset: what the page calls the images.
        step: degrees between two angles.
        without_mask: ids of images whose true mask is not known.
        back: the address of a page to choose other images; None: there is none.
    """
    angles = list(range(0, 360, step))
    shown = [
        examples(network.model, network.task, batches, chosen, network.device, angles)
        for network in networks
    ]
    content = {
        "angles": angles,
        "size": len(shown[0][0].image),
        "networks": [
            {**summary, "colour": colour}
            for summary, colour in zip(summaries(networks), COLOURS, strict=False)
        ],
        "images": [
            _image(same, same[0].id not in without_mask) for same in zip(*shown, strict=True)
        ],
    }
    return render("page.html", content=content, dataset=dataset, back=back, **FLAGS)


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


def _image(same: Sequence[Example], with_mask: bool) -> dict[str, Any]:
    """One image, with what each network finds."""
    first = same[0]
    return {
        "label": first.label,
        "id": first.id,
        "picture": _png(first.image),
        "truth": with_mask,
        "found": [
            {
                "dice": [turned.dice if with_mask else None for turned in example.turned],
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


def render(template: str, **values: Any) -> str:
    """A template of the folder `page`."""
    environment = Environment(
        loader=PackageLoader("polyp.viewer", "page"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)
