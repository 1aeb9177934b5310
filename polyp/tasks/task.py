"""Tasks: from logits to probabilities and masks.

Masks of a task are bool [B, K, H, W], one map per foreground class, K = 1 for a binary task. All
metrics, figures and equivariance measurements work on these maps, so they need not know the task.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from polyp.errors import UserError

Classes = Sequence[str] | Mapping[str, int | Sequence[int]]


class Task(ABC):
    """The meaning of logits.

    Args:
        classes: names of the classes, the background first. A mapping also gives the value or
            colour that a class has in mask files; that is for the dataset, see `polyp.data`.

    Attributes:
        names: names of the classes, the background first.
        channels: of the logits.

    Raises:
        UserError: fewer than two classes, or a name that occurs twice.
    """

    channels: int

    def __init__(self, classes: Classes):
        self.names = [str(name) for name in classes]
        if len(self.names) < 2 or len(set(self.names)) < len(self.names):
            raise UserError(
                f"task.classes={list(classes)}: must be at least two different names, the "
                "background first"
            )

    @property
    def foreground(self) -> list[str]:
        """Names of the classes but the background."""
        return self.names[1:]

    def one_hot(self, mask: Tensor) -> Tensor:
        """A map per foreground class: class indices [B, 1, H, W] → bool [B, K, H, W]."""
        indices = torch.arange(1, len(self.names), device=mask.device).view(1, -1, 1, 1)
        return mask == indices

    @abstractmethod
    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits [B, channels, H, W] → probabilities [B, K, H, W] of the foreground classes."""

    @abstractmethod
    def decide(self, probabilities: Tensor) -> Tensor:
        """Probabilities [B, K, H, W] → masks bool [B, K, H, W]."""

    def masks(self, logits: Tensor) -> Tensor:
        """Logits [B, channels, H, W] → masks bool [B, K, H, W] of the foreground classes."""
        # In float32: in 16 bits, probabilities of small logits are rounded to ½.
        return self.decide(self.probabilities(logits.float()))


class Binary(Task):
    """One class against the background: one logit, whose sigmoid is the probability.

    Args:
        classes: names of the background and of the one class. None: background and polyp.
    """

    channels = 1

    def __init__(self, classes: Classes | None = None):
        super().__init__(("background", "polyp") if classes is None else classes)
        if len(self.names) != 2:
            raise UserError(
                f"task.classes={self.names}: a binary task has two classes, the background and "
                "one more; task=multiclass takes any number"
            )

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def decide(self, probabilities: Tensor) -> Tensor:
        return probabilities > 0.5


class Multiclass(Task):
    """Classes that exclude each other: a logit per class, whose softmax is the probability.

    A pixel is of the most probable class. The background wins ties, in spite of rounding.
    """

    def __init__(self, classes: Classes):
        super().__init__(classes)
        self.channels = len(self.names)

    def probabilities(self, logits: Tensor) -> Tensor:
        return functional.softmax(logits, dim=1)[:, 1:]

    def decide(self, probabilities: Tensor) -> Tensor:
        background = 1 - probabilities.sum(dim=1, keepdim=True) + 1e-6
        all_classes = torch.cat([background, probabilities], dim=1)
        return self.one_hot(all_classes.argmax(dim=1, keepdim=True))
