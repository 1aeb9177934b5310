"""Training: steps, losses, schedules, checkpoints and loggers."""

from polyp.training.checkpoints import Checkpoints
from polyp.training.logging import CSVLogger, make_loggers
from polyp.training.losses import BCEDiceLoss, CrossEntropyDiceLoss
from polyp.training.module import Segmentation
from polyp.training.monitors import EquivarianceMonitor, ValidationImages
from polyp.training.progress import RunProgress
from polyp.training.schedules import constant, cosine, one_cycle
from polyp.training.step_seed import StepSeed
from polyp.training.stopping import EarlyStopping
from polyp.training.trainer import make_trainer

__all__ = [
    "BCEDiceLoss",
    "CSVLogger",
    "Checkpoints",
    "CrossEntropyDiceLoss",
    "EarlyStopping",
    "EquivarianceMonitor",
    "RunProgress",
    "Segmentation",
    "StepSeed",
    "ValidationImages",
    "constant",
    "cosine",
    "make_loggers",
    "make_trainer",
    "one_cycle",
]
