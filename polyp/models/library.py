"""Networks of other libraries."""

from torch import Tensor, nn

from polyp.models.segmentation_model import SegmentationModel


class LibraryModel(SegmentationModel):
    """Any network from images [B, in_channels, H, W] to logits [B, out_channels, H, W].

    Args:
        network: of MONAI, segmentation-models-pytorch or anything else.
        in_channels: channels of the image.
        size_multiple: H and W must be multiples of this, as 2^depth for a U-Net.
    """

    def __init__(self, network: nn.Module, in_channels: int = 3, size_multiple: int = 1):
        super().__init__(in_channels, size_multiple)
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        self.check_input(x)
        return self.network(x)
