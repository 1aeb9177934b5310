"""From files on disk to batches of tensors."""

from polyp.data.datasets import Dataset, PairedFolders
from polyp.data.labels import Labels
from polyp.data.module import DataModule
from polyp.data.polyps import CVCClinicDB, CVCColonDB, ETISLarib, KvasirSEG, PolypGen
from polyp.data.pranet import PraNet
from polyp.data.reading import read_image, read_mask
from polyp.data.sample import Sample
from polyp.data.synthetic import Synthetic

__all__ = [
    "CVCClinicDB",
    "CVCColonDB",
    "DataModule",
    "Dataset",
    "ETISLarib",
    "KvasirSEG",
    "Labels",
    "PairedFolders",
    "PolypGen",
    "PraNet",
    "Sample",
    "Synthetic",
    "read_image",
    "read_mask",
]
