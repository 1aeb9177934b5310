"""Which of the processes that train together this one is, before anything else is known."""

import os

# As torchrun, Lightning (which starts the processes of a machine itself) and SLURM say it.
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")


def first_process() -> bool:
    """Whether this is the first process, or the only one: the one that writes files."""
    return all(os.environ.get(rank, "0") == "0" for rank in RANKS)
