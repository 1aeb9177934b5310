"""The Lightning trainer of a run."""

import logging
import warnings

import torch
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import ParallelStrategy

from polyp.errors import UserError
from polyp.training.checkpoints import AtomicCheckpointIO


def make_trainer(precision: str = "auto", **options) -> Trainer:
    """A Lightning trainer.

    Args:
        precision: as Lightning's, or "auto": bfloat16 autocast on GPUs that have it, else float32.
        options: arguments of `lightning.Trainer`.

    Raises:
        UserError: Lightning refuses the options, as for a GPU where there is none.
    """
    _quieten_lightning()
    if precision == "auto":
        on_gpu = options.get("accelerator") != "cpu" and torch.cuda.is_available()
        precision = "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"
    try:
        trainer = Trainer(
            precision=precision,
            num_sanity_val_steps=0,  # the data is checked before, and it would cost a pass
            enable_model_summary=False,
            enable_progress_bar=False,  # RunProgress has one for the whole run
            use_distributed_sampler=False,  # our data module shares images out itself
            plugins=AtomicCheckpointIO(),
            **options,
        )
        if isinstance(trainer.strategy, ParallelStrategy):  # else only found out when it starts
            trainer.strategy.cluster_environment.validate_settings(
                trainer.num_devices, trainer.num_nodes
            )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    return trainer


def _quieten_lightning() -> None:
    """What Lightning says about itself goes; what it says about a run's faults stays."""
    for name in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.accelerators.cuda",
        "lightning.fabric.utilities.distributed",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Batches are cut from memory: more worker processes cost more than they bring at small sizes.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    # Lightning's own use of a function that torch 2.13 deprecates.
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.* is deprecated.*")
    # It cannot know that our data module goes on within an epoch.
    warnings.filterwarnings("ignore", ".*your dataloader is not resumable.*")
    # An epoch of few steps is no mistake here: the loss is also logged by epoch.
    warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")
