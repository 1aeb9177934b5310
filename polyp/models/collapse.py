"""Turns a trained model of any family into ordinary convolutions."""

import copy

import torch
from torch import Tensor, nn

from polyp.layers import ExpandedConv, Norm


def collapse(model: nn.Module) -> nn.Module:
    """A copy of a model for evaluation: ordinary convolutions with the normalisation folded in.

    The copy gives the same outputs up to rounding, but has no group structure. Do not train it: the
    rotations of a kernel are independent weights in it.

    Args:
        model: any module. It is left as it is. Normalisation is folded where it follows its
            convolution in an `nn.Sequential`, as it does in `UNet`, and kept elsewhere.
    """
    with torch.no_grad():
        return _collapsed(copy.deepcopy(model).eval())


def _collapsed(module: nn.Module) -> nn.Module:
    # Those of other libraries may be used by name or index, or have a `forward` of their own.
    our_sequence = type(module) is nn.Sequential and any(
        isinstance(each, ExpandedConv | Norm) for each in module.modules()
    )
    for name, child in module.named_children():
        setattr(module, name, _collapsed(child))
    if our_sequence:
        layers: list[nn.Module] = []
        for layer in module:
            if isinstance(layer, Norm) and layers and isinstance(layers[-1], nn.Conv2d):
                _fold(layers[-1], *layer.scale_and_shift())
            elif type(layer) is nn.Sequential:  # collapsed itself: a chain of layers
                layers.extend(layer)
            else:
                layers.append(layer)
        return nn.Sequential(*layers)
    if isinstance(module, ExpandedConv):
        module = _ordinary(module)
    if isinstance(module, nn.Conv2d):
        # The maps between take this layout from the weights; convolutions are faster in it.
        module.to(memory_format=torch.channels_last)
    return module


def _ordinary(expanded: ExpandedConv) -> nn.Conv2d:
    kernel = expanded.expand().detach()
    channels, in_channels, size, _ = kernel.shape
    conv = nn.Conv2d(
        in_channels * expanded.groups,
        channels,
        size,
        expanded.stride,
        padding=size // 2,
        groups=expanded.groups,
        bias=False,
        device="meta",  # for no weights to be made that are replaced at once
    )
    conv.weight = nn.Parameter(kernel)
    return conv


def _fold(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> None:
    """Makes a convolution do what a scale and a shift of each channel do after it."""
    conv.weight.mul_(scale[:, None, None, None])
    conv.bias = nn.Parameter(shift if conv.bias is None else shift + scale * conv.bias)
