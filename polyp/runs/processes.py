"""The place of this process in a run or a sweep, before the trainer is created."""

import os

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

# Set by torchrun, Lightning (which starts the processes of a machine itself) and SLURM.
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")


def first_process() -> bool:
    """Whether this is the first process, or the only one: the one that writes files."""
    return all(os.environ.get(rank, "0") == "0" for rank in RANKS)


def in_sweep() -> bool:
    """Whether this process runs a job of a sweep (-m)."""
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN
