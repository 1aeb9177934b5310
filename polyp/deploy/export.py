"""Taking a trained network away, as a file that needs none of this code: ONNX or torch.export."""

import hashlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional

from polyp.errors import UserError
from polyp.files import atomic_path
from polyp.models import collapse
from polyp.runs.saved import SavedRun, open_run

log = logging.getLogger(__name__)

TOLERANCE = 1e-4  # largest difference of a logit between the file and the original network

RESIZES = {
    "pad": "keep the aspect ratio, longer side to image_size, centred, filled up with 0",
    "crop": "cut the longer side to a centred square, then to image_size",
    "stretch": "to image_size in both directions",
}


def export(run: str, output: str) -> float:
    """Writes the best network of a run, collapsed to ordinary convolutions, and checks the file.

    Its input is `image`, float32 [batch, 3, S, S]; its output `logits`, float32 [batch, 1, S, S].

    Args:
        run: the run's folder.
        output: a file to write, .onnx or .pt2.

    Returns:
        The largest difference between the file's logits and those of the original network.
    """
    path = Path(output)
    writers = {".onnx": _write_onnx, ".pt2": _write_pt2}
    if path.suffix not in writers or path.is_dir():
        raise UserError(f"output={output}: must be a file that ends with {' or '.join(writers)}")
    if path.suffix == ".onnx":
        _check_installed("onnx", "onnxruntime", "onnxscript")
    saved = open_run(run)
    model = saved.model()
    size = saved.config.data.image_size
    # In the usual layout: whoever reads the file has a layout of their own.
    plain = collapse(model).to(memory_format=torch.contiguous_format)
    with atomic_path(path) as temporary:
        with _quiet():
            exported = writers[path.suffix](plain, size, temporary, describe(saved))
        difference = _difference(model, exported, size)
        if not difference <= TOLERANCE:  # in this form it catches nan too
            raise UserError(
                f"output={output}: not written, as its logits differ from the network's by "
                f"{difference:.1g}, more than {TOLERANCE}"
            )
    log.info("%s: logits within %.1g of the network's", path, difference)
    return difference


def describe(saved: SavedRun) -> dict[str, str]:
    """What a user of the file has to know, as the file's metadata."""
    data = saved.config.data
    with saved.checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "run": "/".join(saved.folder.resolve().parts[-2:]),
        "checkpoint_sha256": digest,
        "model": saved.choices["model"],
        "trained_on": saved.choices["data"],
        "image_size": str(data.image_size),
        "channels": "RGB",
        "value_range": "0 to 1 (8-bit values / 255), not normalised any further",
        "resize": data.resize,
        "resize_rule": f"{RESIZES[data.resize]}; bilinear, antialiased when shrinking",
        "output": "logits; the probability of polyp is their sigmoid",
        "threshold": "0.5",  # of the probability: logit > 0
        "classes": json.dumps(["background", "polyp"]),
    }


Network = Callable[[Tensor], Tensor]


def _write_onnx(model: nn.Module, size: int, path: Path, metadata: dict[str, str]) -> Network:
    program = torch.onnx.export(
        model,
        **_example(size),
        input_names=["image"],
        output_names=["logits"],
        dynamo=True,
        verbose=False,
    )
    program.model.metadata_props.update(metadata)
    program.save(path)

    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(["logits"], {"image": image.numpy()})[0])


def _write_pt2(model: nn.Module, size: int, path: Path, metadata: dict[str, str]) -> Network:
    program = torch.export.export(model, **_example(size))
    # Not to the file at once: of a full disk, torch's writer says only that it has failed.
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={"metadata.json": json.dumps(metadata)})
    path.write_bytes(content.getbuffer())
    return torch.export.load(path).module()


def _example(size: int) -> dict[str, tuple]:
    """An input to trace the network with, and what of its shape may differ: the batch."""
    # A batch of 1 would be taken to be always 1.
    return {"args": (torch.rand(2, 3, size, size),), "dynamic_shapes": ({0: Dim("batch")},)}


@torch.no_grad()
def _difference(model: nn.Module, exported: Network, size: int) -> float:
    """The largest difference of their logits, on random images with detail at all scales."""
    generator = torch.Generator().manual_seed(0)
    differences = []
    for batch in (1, 3):
        layers = [
            functional.interpolate(torch.rand(batch, 3, n, n, generator=generator), (size, size))
            for n in (2, 8, size)
        ]
        image = torch.stack(layers).mean(dim=0)
        differences.append((model(image) - exported(image)).abs().max())
    return float(torch.stack(differences).max())


def _check_installed(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX needs {', '.join(missing)}: pip install -c constraints.txt -e '.[export]'"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say about themselves."""
    # Their progress; and that torchvision, whose operators are not used, is not there.
    names = "onnxscript", "onnx_ir", "torch.onnx._internal.exporter._registration"
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch 2.13's own use of a function that it deprecates.
            warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.* is deprecated.*")
            yield
    finally:
        for logger, level in loggers.items():
            logger.setLevel(level)
