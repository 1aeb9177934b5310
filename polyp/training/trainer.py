"""The Lightning trainer of a run."""

import logging
import warnings
from typing import Any, cast

import torch
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException

from polyp.errors import UserError
from polyp.training.checkpoints import AtomicCheckpointIO

log = logging.getLogger(__name__)


def make_trainer(precision: str = "auto", **options) -> Trainer:
    """A Lightning trainer.

    Args:
        precision: as for Lightning; or "auto": bfloat16 autocast on GPUs that have it, else
            float32; or "bf16-auto": that, and bfloat16 autocast on CPUs that multiply it natively.
            Elsewhere it takes many times as long as float32, and asking for it logs a warning.
        options: arguments of `lightning.Trainer`.

    Raises:
        UserError: Lightning rejects the options, for example a GPU where there is none.
    """
    _quieten_lightning()
    on_gpu = options.get("accelerator") != "cpu" and torch.cuda.is_available()
    native = torch.cuda.is_bf16_supported() if on_gpu else cpu_multiplies_bf16()
    if precision in ("auto", "bf16-auto"):
        wanted = on_gpu or precision == "bf16-auto"
        precision = "bf16-mixed" if wanted and native else "32-true"
    elif str(precision).startswith("bf16") and not native:
        log.warning(
            "trainer.precision=%s: this processor does not support bfloat16 natively, which is "
            "many times slower than 32-true; bf16-auto uses bfloat16 only where it is fast",
            precision,
        )
    try:
        trainer = Trainer(
            precision=cast(Any, precision),  # Lightning checks the name
            num_sanity_val_steps=0,  # the data is checked before, and it would cost a pass
            enable_model_summary=False,
            enable_progress_bar=False,  # RunProgress has one for the whole run
            use_distributed_sampler=False,  # our data module shares images out itself
            plugins=AtomicCheckpointIO(),
            **options,
        )
        cluster = getattr(trainer.strategy, "cluster_environment", None)
        if cluster is not None:  # otherwise found only when training starts
            cluster.validate_settings(trainer.num_devices, trainer.num_nodes)
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    if options.get("sync_batchnorm") and trainer.strategy.root_device.type == "cpu":
        raise UserError(
            "trainer.sync_batchnorm=true: needs GPUs, as does trainer=ddp, and there is none here; "
            "use trainer=auto"
        )
    return trainer


def cpu_multiplies_bf16() -> bool:
    """Whether this CPU has instructions for it: AVX512_BF16, AMX or those of ARM."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _quieten_lightning() -> None:
    """Hides Lightning's messages about itself, but not its warnings about a run."""
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
    # Lightning does not know that our data module can resume within an epoch.
    warnings.filterwarnings("ignore", ".*your dataloader is not resumable.*")
    # Short epochs are fine: the loss is also logged by epoch.
    warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")
