"""The base class of all networks, which checks the images."""

from torch import Tensor, nn

from polyp.errors import UserError


class SegmentationModel(nn.Module):
    """A network from image [B, in_channels, H, W] to logits [B, out_channels, H, W].

    Args:
        in_channels: channels of the image.
        size_multiple: H and W must be multiples of this.
    """

    def __init__(self, in_channels: int = 3, size_multiple: int = 1):
        super().__init__()
        self.in_channels, self.size_multiple = in_channels, size_multiple

    def check_size(self, height: int, width: int) -> None:
        """Raises UserError, naming the nearest valid sizes, if H×W is not possible."""
        multiple = self.size_multiple
        if height > 0 and width > 0 and height % multiple == 0 and width % multiple == 0:
            return
        nearest = " and ".join(
            f"{name} {' or '.join(str(s) for s in _nearest(size, multiple))}"
            for name, size in (("height", height), ("width", width))
            if size % multiple or size < 1
        )
        raise UserError(
            f"image size {height}×{width}: this network needs multiples of {multiple}; "
            f"nearest valid: {nearest}"
        )

    def check_input(self, x: Tensor) -> None:
        """Raises UserError if this is no batch of images, or of an impossible size."""
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise UserError(
                f"input of shape {list(x.shape)}: this network needs [B, {self.in_channels}, H, W]"
            )
        self.check_size(x.shape[2], x.shape[3])


def _nearest(size: int, multiple: int) -> list[int]:
    """The multiples next to `size`, below (if positive) and above."""
    below = size // multiple * multiple
    return [s for s in (below, below + multiple) if s > 0]
