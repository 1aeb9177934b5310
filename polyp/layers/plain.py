"""Ordinary convolutions: the trivial group, equivariant under translations alone."""

from torch import nn

from polyp.layers.family import LayerFamily


class PlainLayers(LayerFamily):
    """Ordinary convolutions without bias; a field is a channel (|G| = 1)."""

    order = 1

    def lift(self, in_channels: int, fields: int) -> nn.Module:
        return self.conv(in_channels, fields)

    def conv(
        self,
        in_fields: int,
        fields: int,
        kernel_size: int | None = None,
        stride: int = 1,
        groups: int = 1,
    ) -> nn.Module:
        size = self.checked(in_fields, fields, kernel_size, stride, groups)
        conv = nn.Conv2d(
            in_fields, fields, size, stride, padding=size // 2, groups=groups, bias=False
        )
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        return conv
