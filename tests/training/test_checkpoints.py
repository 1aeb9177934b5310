"""Which epoch is kept as the best."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from polyp.training import Checkpoints


class Trainer:
    """As much of Lightning's as an epoch's end needs; notes which checkpoints are written."""

    strategy = SimpleNamespace(
        broadcast=lambda value: value, reduce_boolean_decision=lambda value, all: value
    )

    def __init__(self):
        self.current_epoch = 0
        self.callback_metrics: dict[str, float] = {}
        self.written: list[tuple[int, str]] = []

    def save_checkpoint(self, path: Path, weights_only: bool) -> None:
        self.written.append((self.current_epoch + 1, path.name))

    def end_epochs(self, checkpoints: Checkpoints, scores: list[float]) -> None:
        for score in scores:
            # Neither another score nor the loss has a say.
            self.callback_metrics = {"val/dice": score, "val/loss": score, "train/loss": -score}
            checkpoints.on_train_epoch_end(self, None)
            self.current_epoch += 1


@pytest.mark.parametrize(
    ("scores", "bests"),
    [
        ([0.5, 0.7, 0.7, 0.6], [1, 2]),  # of equal epochs the first
        ([0.0, 0.0, 0.0], [1]),
        ([0.3, 0.2, 0.4], [1, 3]),
    ],
)
def test_best_is_the_first_epoch_with_the_highest_validation_dice(tmp_path, scores, bests):
    trainer, checkpoints = Trainer(), Checkpoints(tmp_path)
    trainer.end_epochs(checkpoints, scores)
    assert [epoch for epoch, name in trainer.written if name == "best.ckpt"] == bests
    lasts = [epoch for epoch, name in trainer.written if name == "last.ckpt"]
    assert lasts == list(range(1, len(scores) + 1))
    assert checkpoints.best_epoch == bests[-1]
    assert checkpoints.best_score == max(scores)


def test_so_it_is_after_a_resumption(tmp_path):
    trainer, first, second = Trainer(), Checkpoints(tmp_path), Checkpoints(tmp_path)
    trainer.end_epochs(first, [0.5, 0.7])
    second.load_state_dict(first.state_dict())
    trainer.end_epochs(second, [0.7, 0.6])
    assert (second.best_epoch, second.best_score) == (2, 0.7)
    assert [epoch for epoch, name in trainer.written if name == "best.ckpt"] == [1, 2]
