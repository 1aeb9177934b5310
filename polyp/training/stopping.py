"""Early stopping by the validation Dice."""

from lightning import LightningModule, Trainer
from lightning.pytorch import callbacks


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's early stopping, but a stopped run that is resumed does not train further.

    Args:
        monitor: the metric that should rise.
        patience: epochs without a better value before stopping; also for a resumed run.
    """

    def __init__(self, monitor: str, patience: int):
        super().__init__(monitor, mode="max", patience=patience)

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        if self.wait_count >= max(1, self.patience):
            trainer.should_stop = True
