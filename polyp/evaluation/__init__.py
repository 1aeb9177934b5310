"""Measuring a trained model: scores on a test set, and whether its masks turn with the image."""

from polyp.evaluation.equivariance import Sweep, check_angles, rotation_sweep
from polyp.evaluation.figures import (
    Example,
    Turned,
    equivariance_figure,
    overlay,
    predictions_figure,
)
from polyp.evaluation.inference import evaluation_mode, predict
from polyp.evaluation.report import evaluate
from polyp.evaluation.scores import dice, scores, summary

__all__ = [
    "Example",
    "Sweep",
    "Turned",
    "check_angles",
    "dice",
    "equivariance_figure",
    "evaluate",
    "evaluation_mode",
    "overlay",
    "predict",
    "predictions_figure",
    "rotation_sweep",
    "scores",
    "summary",
]
