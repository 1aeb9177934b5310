"""Convolution with a kernel that is computed from its weights, as in all equivariant layers."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from polyp.layers.depthwise import depthwise_conv2d, pays


class ExpandedConv(nn.Module, ABC):
    """A convolution without bias and with zero padding, whose kernel is computed from parameters.

    In training the kernel is computed in each step. In evaluation without gradients it is cached,
    together with the parameters and buffers that it was computed from, and reused while they have
    the same values, types and devices. (The values are compared, because version counters and
    identities do not show all changes, for example by `weight.data`.)

    Args:
        stride: pixels from one output to the next.
        groups: as in `nn.Conv2d`.
    """

    def __init__(self, stride: int = 1, groups: int = 1):
        super().__init__()
        self.stride, self.groups = stride, groups
        self._kept: tuple[list[Tensor], Tensor] | None = None  # what it was made from, and kernel

    @abstractmethod
    def expand(self) -> Tensor:
        """The kernel, for an ordinary convolution: [out_channels, in_channels / groups, k, k]."""

    def kernel(self) -> Tensor:
        """The kernel from `expand`, or from the cache."""
        if torch.compiler.is_compiling():
            return self._expand()
        if self.training or torch.is_grad_enabled():
            self._kept = None  # frees its memory
            return self._expand()
        sources = [*self.parameters(), *self.buffers()]
        if self._kept is None or not _identical(self._kept[0], sources):
            self._kept = [source.clone() for source in sources], self._expand()
        return self._kept[1]

    def _expand(self) -> Tensor:
        # In full precision under autocast too: the work is small, and the kernel may be kept.
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            return self.expand()

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel()
        if pays(x, kernel, self.stride, self.groups):
            return depthwise_conv2d(x, kernel)
        padding = kernel.shape[-1] // 2
        return functional.conv2d(x, kernel, stride=self.stride, padding=padding, groups=self.groups)


def _identical(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(
        x.dtype == y.dtype and x.device == y.device and torch.equal(x, y)
        for x, y in zip(a, b, strict=True)
    )
