"""Resolvers for configs. Importing this module registers them with OmegaConf."""

from collections.abc import Sized

from omegaconf import OmegaConf


def count(values: Sized) -> int:
    """`${count:${task.classes}}`: the number of entries of a list or mapping."""
    return len(values)


OmegaConf.register_new_resolver("count", count, replace=True)
