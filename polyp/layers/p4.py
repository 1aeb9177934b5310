"""The groups p4 and p4m: rotations by multiples of 90°, and with them reflections.

T. S. Cohen and M. Welling, Group Equivariant Convolutional Networks, ICML 2016.
"""

from polyp.layers.group_conv import GroupLayers, rotation_matrices, with_reflections


class P4Layers(GroupLayers):
    """Convolutions whose kernels are turned by 0, 90, 180 and 270°. Exact on the pixel grid.

    The orientations of a field are the four rotations, counterclockwise; with reflections there
    follow the four rotations of the kernel mirrored left to right.

    Args:
        kernel_size: side of the square kernels, in pixels; odd.
        reflections: p4m (|G| = 8) instead of p4 (|G| = 4).

    Raises:
        UserError: `kernel_size` is not a positive odd number.
    """

    def __init__(self, kernel_size: int = 3, reflections: bool = False):
        group = rotation_matrices(4)
        super().__init__(kernel_size, with_reflections(group) if reflections else group)
