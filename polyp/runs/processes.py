"""The rank of this process among the processes of a run, before the trainer is created."""

import os

# Set by torchrun, Lightning (which starts the processes of a machine itself) and SLURM.
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")


def first_process() -> bool:
    """Whether this is the first process, or the only one: the one that writes files."""
    return all(os.environ.get(rank, "0") == "0" for rank in RANKS)
