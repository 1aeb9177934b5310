"""Exports a trained network as a file that works without this package: ONNX or torch.export."""

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

from polyp.deploy.network import Trained, load_trained, logits_of, ordinary
from polyp.deploy.output import writing
from polyp.errors import UserError
from polyp.files import atomic_path
from polyp.runs.folder import RunFolder
from polyp.tasks import Binary, Multiclass, Task

log = logging.getLogger(__name__)

TOLERANCE = 1e-4  # largest difference of a logit between the file and the original network
LARGEST_ONNX = 1536 * 2**20  # bytes of weights; beyond, torch writes them to a second file

RESIZES = {
    "pad": "keep the aspect ratio, longer side to image_size, centred, filled up with 0",
    "crop": "cut the longer side to a centred square, then to image_size",
    "stretch": "to image_size in both directions",
}


def export(run: str, output: str, overwrite: bool = False) -> float:
    """Writes the best network of a run as ordinary convolutions, and checks the file.

    Its input is `image`, float32 [batch, channels, S, S]; its output `logits`, float32
    [batch, classes, S, S], one channel of a binary task. The batch may be of any size.

    Args:
        run: the run's folder.
        output: a file to write, .onnx or .pt2.
        overwrite: replace the file if there is one.

    Returns:
        The largest difference between the file's logits and those of the original network.

    Raises:
        UserError: the file cannot be written, or its logits differ by more than 1e-4.
    """
    path = Path(output)
    writers = {".onnx": _write_onnx, ".pt2": _write_pt2}
    if path.suffix not in writers or path.is_dir():
        raise UserError(f"output={output}: must be a file that ends with {' or '.join(writers)}")
    if path.exists() and not overwrite:
        raise UserError(f"output={output}: already exists; overwrite=true replaces it")
    if path.suffix == ".onnx":
        _check_installed("onnx", "onnxruntime", "onnxscript")
    opened = RunFolder.open(run)
    trained = load_trained(opened)
    examples = [_image(trained, batch) for batch in (1, 3)]
    with torch.no_grad():
        expected = [logits_of(trained.model, image, trained.task) for image in examples]
    # In the usual memory layout: the programs that read the file choose their own.
    plain = ordinary(trained.model).to(memory_format=torch.contiguous_format)
    weights = sum(tensor.nbytes for tensor in plain.state_dict().values())
    if path.suffix == ".onnx" and weights > LARGEST_ONNX:
        raise UserError(
            f"output={output}: {weights / 2**20:,.0f} MB of weights do not fit into an ONNX file; "
            "write a .pt2 file"
        )
    # A batch of 1 would be taken to be always 1.
    example = {"args": (_image(trained, 2),), "dynamic_shapes": ({0: Dim("batch")},)}
    with writing(output), atomic_path(path) as temporary:
        with _quiet():
            network = writers[path.suffix](plain, example, temporary, describe(opened, trained))
        with torch.no_grad():
            differences = [
                (logits - network(image)).abs().max()
                for image, logits in zip(examples, expected, strict=True)
            ]
        difference = float(torch.stack(differences).max())
        if not difference <= TOLERANCE:  # in this form it catches nan too
            raise UserError(
                f"output={output}: not written, as its logits differ from the network's by "
                f"{difference:.1g}, more than {TOLERANCE}"
            )
    log.info("%s: logits within %.1g of the network's", path, difference)
    return difference


def describe(run: RunFolder, trained: Trained) -> dict[str, str]:
    """The metadata of the file: everything that its user has to know."""
    with run.best.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "run": "/".join(run.path.resolve().parts[-2:]),
        "checkpoint_sha256": digest,
        "model": run.choices["model"],
        "trained_on": run.choices["data"],
        "image_size": str(trained.image_size),
        "channels": "RGB" if trained.channels == 3 else "grey",
        "value_range": "0 to 1 (8-bit values / 255), not normalised any further",
        "resize": trained.resize,
        "resize_rule": f"{RESIZES[trained.resize]}; bilinear, antialiased when shrinking",
        "task": run.choices.get("task", "binary"),
        "classes": json.dumps(trained.task.names),
        **_output(trained.task),
    }


def _output(task: Task) -> dict[str, str]:
    """The meaning of the file's logits."""
    if isinstance(task, Binary):
        meaning = {"output": f"logits; the probability of {task.foreground[0]} is their sigmoid"}
        if type(task).decide is Binary.decide:
            meaning["threshold"] = "0.5"  # of the probability: logit > 0
        return meaning
    if isinstance(task, Multiclass):
        meaning = "a logit per class; the probabilities are their softmax over the channels"
        if type(task).decide is Multiclass.decide:
            meaning += ", the class is that of the largest"
        return {"output": meaning}
    return {"output": f"logits of the task {type(task).__name__}"}


def _image(trained: Trained, batch: int) -> Tensor:
    """Random images with detail at all scales."""
    generator, size = torch.Generator().manual_seed(batch), trained.image_size
    layers = [
        functional.interpolate(
            torch.rand(batch, trained.channels, n, n, generator=generator), (size, size)
        )
        for n in (2, 8, size)
    ]
    return torch.stack(layers).mean(dim=0)


Network = Callable[[Tensor], Tensor]


def _write_onnx(model: nn.Module, example: dict, path: Path, metadata: dict[str, str]) -> Network:
    program = torch.onnx.export(
        model,
        **example,
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


def _write_pt2(model: nn.Module, example: dict, path: Path, metadata: dict[str, str]) -> Network:
    program = torch.export.export(model, **example)
    # Not written to the file directly, because torch's writer does not report a full disk.
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={"metadata.json": json.dumps(metadata)})
    path.write_bytes(content.getbuffer())
    return torch.export.load(path).module()


def _check_installed(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX needs {', '.join(missing)}: pip install -c constraints.txt -e '.[export]'"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides the exporters' messages about themselves."""
    # Progress bars, and the message that torchvision is missing, whose operators are not used.
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
