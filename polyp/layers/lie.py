"""Continuous kernels on SE(2): small networks of the relative group element, sampled after turning.

M. Finzi, S. Stanton, P. Izmailov and A. G. Wilson, Generalizing Convolutional Neural Networks for
Equivariance to Lie Groups on Arbitrary Continuous Data (LieConv), ICML 2020; D. M. Knigge, D. W.
Romero and E. J. Bekkers, Exploiting Redundancy: Separable Group Convolutional Networks on Lie
Groups, ICML 2022; D. M. Knigge et al., Modelling Long Range Dependencies in N-D: From Task-Specific
to a General Purpose CNN, ICLR 2023; V. Sitzmann et al., Implicit Neural Representations with
Periodic Activation Functions (SIREN), NeurIPS 2020.

LieConv convolves functions on a set of points of a group: it lifts each point of the input to group
elements, and computes (eq. 9) y(u_i) = 1/n_i Σ_j f(log(v_j⁻¹u_i)) x(v_j) over the neighbours v_j
of u_i, where f is a network on the Lie algebra. For that it keeps a value of f for every pair of
points. Here the points are those of a pixel grid, with N rotations at each: the relative elements
are the same around every pixel, f is evaluated once for all of them, and what remains is an
ordinary convolution. The logarithm is left out: f takes the turned offset and the relative angle.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from polyp.errors import UserError
from polyp.layers.expanded_conv import ExpandedConv
from polyp.layers.family import LayerFamily
from polyp.layers.group_conv import product_table, rotation_group
from polyp.layers.offset import RandomOffset, random_offset
from polyp.layers.se2 import soft_disc
from polyp.layers.separable import check_first, separable_conv


class LieLayers(LayerFamily):
    """Convolutions whose kernels are networks of position and angle.

    Turning such a kernel means to turn the positions that it is sampled at: nothing is
    interpolated, and the kernels of all rotations are equally sharp.

    Args:
        kernel_size: side of the square kernels, in pixels; odd.
        rotations: N, at least 1; |G| = N. Multiples of 4 make rotations by 90° exact.
        offset: `fixed` samples the N rotations alone; with `random`, all kernels of a network are
            turned by one more angle, drawn anew for each forward pass in training (Finzi et al.
            2020, section 4.2: the integral over the group by Monte Carlo).
        separable: kernels are products of one over positions and one over angles, each with a
            network of its own (Knigge et al. 2022, eq. 10); the lifting convolution stays.
        first: the order of the two parts of separable convolutions, as in `SeparableSE2Layers`.
        omega: of the first layer of a network, which starts with angular frequencies up to ω/d
            radians per kernel radius, with d = 2 coordinates in the lifting convolution, else 4.
            Lower is smoother: more equivariant and less detailed. Beyond 12 kernels of 5×5 pixels
            are finer than the pixel grid.
        hidden: neurons per hidden layer of a network.
        layers: hidden layers of a network.
        reflections: with each rotation also the one of the mirrored kernel: |G| = 2N.

    Raises:
        UserError: an argument is none of these.

    Warns:
        UserWarning: N is not a multiple of 4.
    """

    def __init__(
        self,
        kernel_size: int = 5,
        rotations: int = 12,
        offset: str = "fixed",
        separable: bool = False,
        first: str = "depthwise",
        omega: float = 8.0,
        hidden: int = 32,
        layers: int = 2,
        reflections: bool = False,
    ):
        super().__init__(kernel_size)
        if not isinstance(omega, int | float) or not 0 < omega < math.inf:
            raise UserError(f"omega={omega}: must be a positive number of radians")
        for name, value in (("hidden", hidden), ("layers", layers)):
            if not isinstance(value, int) or value < 1:
                raise UserError(f"{name}={value}: must be a positive whole number")
        self.group = rotation_group(rotations, reflections)
        self.order = len(self.group)
        check_first(first)
        self.separable, self.first = separable, first
        self.network = {"omega": omega, "hidden": hidden, "layers": layers}
        # One for all layers of a network, so that they turn together.
        self.offset = random_offset(offset, rotations)

    def activation(self, fields: int) -> nn.Module:
        """GELU (Hendrycks & Gimpel 2016). A field whose ReLUs are 0 at all pixels learns no more,
        and where there are few fields that can stop the whole network."""
        return nn.GELU()

    def lift(self, in_channels: int, fields: int) -> nn.Module:
        conv = self._conv(in_channels, fields, self.kernel_size, lifting=True)
        return conv if self.offset is None else nn.Sequential(self.offset, conv)

    def conv(
        self,
        in_fields: int,
        fields: int,
        kernel_size: int | None = None,
        stride: int = 1,
        groups: int = 1,
    ) -> nn.Module:
        size = self.checked(in_fields, fields, kernel_size, stride, groups)
        if not self.separable:
            return self._conv(in_fields, fields, size, stride=stride, groups=groups)
        pointwise = self._conv(in_fields, fields, 1, groups=groups, nonlinearity="linear")

        def depthwise(fields: int) -> nn.Module:
            """A lifting convolution of each channel by itself."""
            channels = fields * self.order
            return self._conv(channels, fields, size, lifting=True, stride=stride, groups=channels)

        return separable_conv(self.first, in_fields, fields, pointwise, depthwise)

    def _conv(self, in_fields: int, fields: int, kernel_size: int, **arguments) -> nn.Module:
        return LieConv(
            in_fields,
            fields,
            kernel_size,
            self.group,
            **self.network,
            offset=self.offset,
            **arguments,
        )


class LieConv(ExpandedConv):
    """Lifting or group convolution with a continuous kernel, without bias.

    With ρ the kernel's radius in pixels, its kernel is (Knigge et al. 2022, eq. 8 on a grid)

        ψ[c', g, c, h](v) = s · window(|v|) · f(g⁻¹v / ρ, g⁻¹h)[c', c]

    where g⁻¹h goes into f by the cosine and sine of its angle (which, unlike the angle, do not jump
    anywhere) and, if there are reflections, its determinant. A lifting kernel has no h. f is a
    SIREN (Sitzmann et al. 2020, section 3.2): a₁ = sin(ωW₁x + b₁), aᵢ = sin(Wᵢaᵢ₋₁ + bᵢ), f = A·aₙ,
    with their initialisation but for three things.

    - b₁ is uniform from −π to π. Without biases f is odd, all filters start antisymmetric, and
      where kernels are separable the signal is lost by the third layer. Large ones in all layers
      would make all filters blurs.
    - Layers from the second on are without ω, and their weights larger by it: the same function,
      but optimisers take equal steps in all layers.
    - For the same reason A (`weight`) has standard deviation .4, and the fixed factor s in front
      gives the kernel the variance of He initialisation. With weights as small as that asks for,
      the first steps of Adam are larger than the weights.

    Args:
        in_fields: C.
        fields: C'.
        kernel_size: k.
        group: the elements as matrices on offsets (row, column), [|G|, 2, 2].
        omega, hidden, layers: of f, as in `LieLayers`.
        offset: turns the kernel further in training, if there is one.
        lifting: from one orientation, not |G|.
        stride: pixels from one output to the next.
        groups: of fields; f then gives each field's C / groups inputs.
        nonlinearity: what follows, for the initialisation: "relu" or "linear".
    """

    pixels: Tensor
    elements: Tensor
    relative: Tensor
    window: Tensor

    def __init__(
        self,
        in_fields: int,
        fields: int,
        kernel_size: int,
        group: Tensor,
        omega: float,
        hidden: int,
        layers: int,
        offset: RandomOffset | None = None,
        lifting: bool = False,
        stride: int = 1,
        groups: int = 1,
        nonlinearity: str = "relu",
    ):
        super().__init__(stride, groups)
        self.offset = offset
        radius = kernel_size // 2
        steps = torch.arange(kernel_size, dtype=torch.float64) - radius
        pixels = torch.cartesian_prod(steps, steps)
        window = soft_disc(pixels.norm(dim=1), kernel_size)
        relative = torch.zeros(len(group), 1, 0) if lifting else _relative(group)
        self.shape = fields, len(group), in_fields // groups, relative.shape[1], kernel_size
        dtype = torch.get_default_dtype()
        # Not in checkpoints: they follow from the config.
        self.register_buffer("pixels", (pixels / max(radius, 1)).to(dtype), persistent=False)
        self.register_buffer("elements", group.to(dtype), persistent=False)
        self.register_buffer("relative", relative.to(dtype), persistent=False)
        self.register_buffer("window", window.to(dtype), persistent=False)

        coordinates = 2 + relative.shape[-1]
        sizes = [coordinates, *[hidden] * layers]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.omega = omega
        first, *others = (layer for layer in self.layers if isinstance(layer, nn.Linear))
        nn.init.uniform_(first.weight, -1 / coordinates, 1 / coordinates)
        nn.init.uniform_(first.bias, -math.pi, math.pi)
        for layer in others:  # their biases are nn.Linear's, ±1/√hidden
            nn.init.uniform_(layer.weight, -math.sqrt(6 / hidden), math.sqrt(6 / hidden))
        self.weight = nn.Parameter(0.4 * torch.randn(fields, in_fields // groups, hidden))
        # A sine has mean square ½, so A·a has .4²·hidden/2.
        inputs = in_fields // groups * relative.shape[1] * window.square().sum().item()
        self.scale = nn.init.calculate_gain(nonlinearity) / math.sqrt(inputs * 0.4**2 * hidden / 2)

    def expand(self) -> Tensor:
        fields, order, in_fields, in_order, size = self.shape
        elements = self.elements
        if self.training and self.offset is not None:
            elements = self.offset.matrix.to(elements) @ elements
        positions = self.pixels @ elements  # rows (g⁻¹v)ᵀ = vᵀg, as the matrices are orthogonal
        # At each g, h and v: [|G|, in_order, k², coordinates].
        x = torch.cat(
            [
                positions[:, None].expand(-1, in_order, -1, -1),
                self.relative[:, :, None].expand(-1, -1, size**2, -1),
            ],
            dim=3,
        )
        x = self.omega * x
        for layer in self.layers:
            x = layer(x).sin()
        kernel = torch.einsum(
            "oci,ghvi->ogchv", self.weight, x * (self.scale * self.window)[:, None]
        )
        return kernel.reshape(fields * order, in_fields * in_order, size, size)

    def extra_repr(self) -> str:
        fields, order, in_fields, in_order, size = self.shape
        return (
            f"{in_fields}, {fields}, kernel_size={size}, in_order={in_order}, order={order}, "
            f"omega={self.omega}"
        )


def _relative(group: Tensor) -> Tensor:
    """Cosine and sine of the angle of g⁻¹h, and if there are reflections its determinant.

    Returns:
        [|G|, |G|, 2 or 3].
    """
    elements = group[product_table(group)]  # by the table, for them to be equal to the last bit
    angles, determinants = elements[..., 0], torch.linalg.det(elements)[..., None].round()
    return angles if (determinants > 0).all() else torch.cat([angles, determinants], dim=2)
