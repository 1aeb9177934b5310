"""Convolution with a kernel that is computed from its weights: what equivariance comes down to."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional


class ExpandedConv(nn.Module, ABC):
    """A convolution without bias, zero outside the image, whose kernel follows from its `weight`.

    In training the kernel is made anew in each step. In evaluation without gradients it is kept,
    together with the weight that it was made from, and used for as long as the weight has the
    same values, type and device. (The values themselves are compared: they can change without a
    trace in version counters or identities, by `weight.data` for instance.)
    """

    weight: nn.Parameter

    def __init__(self):
        super().__init__()
        self._kept: tuple[Tensor, Tensor] | None = None  # weight and kernel

    @abstractmethod
    def expand(self) -> Tensor:
        """The kernel, for an ordinary convolution: [out_channels, in_channels, k, k]."""

    def kernel(self) -> Tensor:
        """The kernel, [out_channels, in_channels, k, k]: kept if possible, or else expanded."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            self._kept = None  # frees its memory
            return self._expand()
        if self._kept is None or not _identical(self._kept[0], self.weight):
            self._kept = self.weight.clone(), self._expand()
        return self._kept[1]

    def _expand(self) -> Tensor:
        # In full precision under autocast too: the work is small, and the kernel may be kept.
        with torch.autocast(self.weight.device.type, enabled=False):
            return self.expand()

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.kernel(), padding="same")


def _identical(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
