"""Writing `best.ckpt` and `last.ckpt`."""

import shutil
import time
from pathlib import Path

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from polyp.files import atomic_path


class Checkpoints(Checkpoint):
    """After each epoch, `last.ckpt`; and `best.ckpt` if the validation Dice is the highest so far.

    Not Lightning's ModelCheckpoint, as that writes in place (a reader, or a resumed run, may meet
    half a file) and forgets the best score when a run is resumed in another folder.

    Args:
        folder: where the two are written.
        resume: the checkpoint that the run is resumed from, if any. If the run goes on in another
            folder, the `best.ckpt` beside it is taken along.
    """

    monitor = "val/dice"

    def __init__(self, folder: Path, resume: Path | None = None):
        self.folder, self.resume = folder, resume
        self.best_score = float("-inf")
        self.best_epoch = 0  # counted from 1
        self.seconds = 0.0  # of training and validation, those before a resumption counted in
        self.started = 0.0

    @property
    def best(self) -> Path:
        return self.folder / "best.ckpt"

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    def state_dict(self) -> dict:
        return {
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state_dict: dict) -> None:
        self.seconds = state_dict["seconds"]
        earlier_best = self.resume.with_name("best.ckpt")
        if not self.best.exists() and earlier_best.exists():
            _copy(earlier_best, self.best)
        if self.best.exists():  # without the file its score is of no use: the next epoch is best
            self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.seconds += time.monotonic() - self.started
        score = float(trainer.callback_metrics[self.monitor])
        improved = score > self.best_score
        if improved:
            self.best_score, self.best_epoch = score, trainer.current_epoch + 1
        # All processes must call save_checkpoint, the first alone writes.
        written = self.folder / ".writing.ckpt"
        trainer.save_checkpoint(written, weights_only=False)  # with the optimiser
        if trainer.is_global_zero:
            if improved:  # before `last`: killed in between, the epoch is repeated, nothing is lost
                _copy(written, self.best)
            written.replace(self.last)


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
