"""Running a model over batches, whatever it is built from."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluate without gradients, and on GPUs without TF32, which rounds float32 to ten bits.

    Afterwards every module is in the mode it was found in.
    """
    modes = [(module, module.training) for module in model.modules()]
    # A layer may keep what it computes on .eval(), e.g. its expanded filter. Under inference_mode
    # that would be a tensor that no later training can use, so the mode is changed outside of it.
    with torch.no_grad():
        model.eval()
    try:
        with torch.inference_mode(), _float32_unrounded():
            yield
    finally:
        with torch.no_grad():
            for module, training in modes:  # parents come first, so their children have the say
                module.train(training)


@contextmanager
def _float32_unrounded() -> Iterator[None]:
    backends: Any = torch.backends  # its stubs lack fp32_precision
    operations = backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul
    before = [operation.fp32_precision for operation in operations]
    for operation in operations:
        operation.fp32_precision = "ieee"
    try:
        yield
    finally:
        for operation, precision in zip(operations, before, strict=True):
            operation.fp32_precision = precision


def to_device(batch: dict, device: torch.device | str) -> dict:
    """The batch with its tensors on `device`; without a "valid" mask every pixel is valid."""
    batch = {"valid": torch.ones_like(batch["mask"], dtype=torch.bool), **batch}
    return {
        key: value.to(device) if isinstance(value, Tensor) else value
        for key, value in batch.items()
    }
