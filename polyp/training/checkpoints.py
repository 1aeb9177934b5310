"""Writes `best.ckpt` and `last.ckpt`."""

import io
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from polyp.files import atomic_path
from polyp.runs.signals import Stopped, on_signals


class Checkpoints(Checkpoint):
    """After each epoch, `last.ckpt`; and `best.ckpt` if the validation Dice is the highest so far.

    On SIGTERM or Ctrl-C, `last.ckpt` is written after the current step or validation, and training
    ends with `Stopped`. A run that is resumed from it makes the remaining steps of the epoch; the
    mean training loss that it logs for this epoch is over these steps only.

    Lightning's ModelCheckpoint is not used: it writes in place, so that half-written files may be
    left, and forgets the best score when a run is resumed in another folder.

    Args:
        folder: of the two files.
        resume: the checkpoint that the run is resumed from, if any. If the run continues in
            another folder, `copy_best` copies the `best.ckpt` beside it.
        identity: what the run is, see `polyp.runs.identity`; it is kept in the checkpoints.
        provenance: of this process, see `polyp.runs.provenance`; it is kept in the checkpoints,
            and `earlier` has those of the processes that trained the run before it was resumed.
    """

    monitor = "val/dice"

    def __init__(
        self,
        folder: Path,
        resume: Path | None = None,
        identity: dict[str, Any] | None = None,
        provenance: dict[str, Any] | None = None,
    ):
        self.folder, self.resume, self.identity = folder, resume, identity
        self.provenance = provenance
        self.earlier: list[dict[str, Any]] = []
        self.best_score = float("-inf")
        self.best_epoch = 0  # counted from 1
        self.seconds = 0.0  # of training and validation, also before the run was resumed
        self.counted = 0.0  # up to this moment
        self.signum: int | None = None  # of the signal that stops the run

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
            "provenance": [*self.earlier, self.provenance],
        }

    def load_state_dict(self, state_dict: dict) -> None:
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]
        self.seconds = state_dict["seconds"]
        # Checkpoints of version 0.1 have none.
        self.earlier = [record for record in state_dict.get("provenance", []) if record]

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.identity is not None:
            checkpoint["identity"] = self.identity

    def has_best(self) -> bool:
        """Whether there is a best epoch so far, here or beside the resumed checkpoint."""
        return any(path.exists() for path in filter(None, (self.best, self._earlier_best)))

    def copy_best(self) -> None:
        """Copies the best epoch so far. Call it once the resumed checkpoint has been accepted."""
        if self._earlier_best is None:
            return
        if not self.best.exists() and self._earlier_best.exists():
            with atomic_path(self.best) as temporary:
                shutil.copyfile(self._earlier_best, temporary)
        if (
            not self.best.exists()
        ):  # without the file the score is useless: the next epoch is the best
            self.best_score, self.best_epoch = float("-inf"), 0

    @property
    def _earlier_best(self) -> Path | None:
        return None if self.resume is None else self.resume.with_name("best.ckpt")

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.counted = time.monotonic()
        # Nothing is raised within a step: TensorBoard's writer, for example, would keep its lock.
        # Also in place of Lightning's own handler of SIGTERM, which ends the run without a
        # checkpoint, and with several processes broadcasts in the midst of other collectives.
        # Lightning puts back what was there before, as it does after its own.
        on_signals(self._note)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # the end of the epoch, or of the step, comes first
        if self._stopped(trainer):
            self._save(trainer, self.last)
            raise Stopped(self.signum or signal.SIGTERM)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        score = float(trainer.callback_metrics[self.monitor])
        # Only the first process writes the files, so it decides.
        if trainer.strategy.broadcast(score > self.best_score):
            self.best_score, self.best_epoch = score, trainer.current_epoch + 1
            # Before `last`: killed in between, the epoch is repeated, and nothing is lost.
            self._save(trainer, self.best)
        self._save(trainer, self.last)
        if self._stopped(trainer):
            raise Stopped(self.signum or signal.SIGTERM)

    def _note(self, signum: int, frame: Any) -> None:
        if self.signum == signum == signal.SIGINT:  # a second Ctrl-C: stop at once
            raise Stopped(signum)
        self.signum = signum

    def _stopped(self, trainer: Trainer) -> bool:
        """Whether any process has received a signal: all must stop at the same step."""
        return trainer.strategy.reduce_boolean_decision(self.signum is not None, all=False)

    def _save(self, trainer: Trainer, path: Path) -> None:
        now = time.monotonic()
        self.seconds, self.counted = self.seconds + now - self.counted, now
        # All processes must call it; only the first writes.
        trainer.save_checkpoint(path, weights_only=False)  # with the optimiser


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint via a temporary file in its own folder."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        # To memory first: on a full disk torch's own writer does not name the reason.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content.getbuffer())
