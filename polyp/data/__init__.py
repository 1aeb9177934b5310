"""From files on disk to batches of tensors."""

from polyp.data.datasets import CVCClinicDB, Dataset, KvasirSEG, PairedFolders
from polyp.data.module import DataModule
from polyp.data.reading import read_image, read_mask
from polyp.data.sample import Sample
from polyp.data.synthetic import Synthetic

__all__ = [
    "CVCClinicDB",
    "DataModule",
    "Dataset",
    "KvasirSEG",
    "PairedFolders",
    "Sample",
    "Synthetic",
    "read_image",
    "read_mask",
]
