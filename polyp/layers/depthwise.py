"""Depthwise convolution that trains faster on CPUs.

In torch the gradient of a depthwise kernel takes five to ten times as long as the convolution, if
the kernel is wider than three columns: oneDNN has fast code for narrower ones only. So here the
gradient is computed for three columns at a time. It is also computed for some channels at a time,
since what fits into the cache is faster; and of large maps some images are convolved at a time,
since a block of memory of more than 32 MB is slow to get.
"""

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_input, conv2d_weight

COLUMNS = 3
CHANNELS = 16  # that oneDNN treats at once
# Bytes of the input at a time: in a convolution, and in the gradient of the kernel.
CONVOLVED, CACHED = 2**24, 2**21
# Processors and types that oneDNN has fast code for.
X86 = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
TYPES = (torch.float32, torch.bfloat16)


def pays(x: Tensor, kernel: Tensor, stride: int, groups: int) -> bool:
    """Whether `depthwise_conv2d` trains a convolution faster.

    False while a network is compiled or exported, which needs torch's own operations.
    """
    return (
        x.numel() > 0
        and groups == len(kernel) == x.shape[1]
        and stride == 1
        and kernel.shape[-1] > COLUMNS
        and kernel.requires_grad
        and torch.is_grad_enabled()
        and x.device.type == "cpu"
        and X86
        and x.dtype in TYPES
        and not torch.compiler.is_compiling()
        and not torch.onnx.is_in_onnx_export()
    )


def depthwise_conv2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolves each channel by itself, zero outside the image: `functional.conv2d` of stride 1.

    Derivatives of any order are those of `functional.conv2d` but for rounding. Under autocast it
    computes in the same type as `functional.conv2d`.

    Args:
        x: [B, C, H, W].
        kernel: [C, 1, k, k], k odd.

    Returns:
        [B, C, H, W].
    """
    if torch.is_autocast_enabled(x.device.type):
        x, kernel = (each.to(torch.get_autocast_dtype(x.device.type)) for each in (x, kernel))
    images = max(1, CONVOLVED // (x[:1].numel() * x.element_size()))
    if images >= len(x):  # joined pieces are a copy
        return _DepthwiseConv2d.apply(x, kernel)
    return torch.cat([_DepthwiseConv2d.apply(piece, kernel) for piece in x.split(images)])


class _DepthwiseConv2d(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, kernel: Tensor) -> Tensor:
        return functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2, groups=len(kernel))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        # Of operations that autograd knows, so it finds the second derivative by itself.
        x, kernel = ctx.saved_tensors
        of_x = of_kernel = None
        if ctx.needs_input_grad[0]:
            margin, groups = kernel.shape[-1] // 2, len(kernel)
            of_x = conv2d_input(x.shape, kernel, gradient, padding=margin, groups=groups)
        if ctx.needs_input_grad[1]:
            of_kernel = _kernel_gradient(x, gradient, kernel.shape[-1])
        return of_x, of_kernel


def _kernel_gradient(x: Tensor, gradient: Tensor, size: int) -> Tensor:
    """[C, 1, size, size], of x and gradient [B, C, H, W]."""
    fitting = CACHED // (x[:, :1].numel() * x.element_size())
    channels = max(CHANNELS, fitting // CHANNELS * CHANNELS)
    pieces = zip(x.split(channels, dim=1), gradient.split(channels, dim=1), strict=True)
    return torch.cat([_by_columns(*piece, size) for piece in pieces])


def _by_columns(x: Tensor, gradient: Tensor, size: int) -> Tensor:
    channels, margin = x.shape[1], size // 2
    gradient = gradient.contiguous()
    parts = []
    for first in range(0, size, COLUMNS):
        columns = min(COLUMNS, size - first)
        # The part of the image that these columns of the kernel see; negative padding cuts off.
        left, right = margin - first, first + columns - 1 - margin
        seen = functional.pad(x, (left, right, margin, margin))
        shape = (channels, 1, size, columns)
        parts.append(conv2d_weight(seen, shape, gradient, groups=channels))
    return torch.cat(parts, dim=-1)
