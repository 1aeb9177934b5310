"""Measuring a trained model: scores on a test set, and whether its masks turn with the image."""

from polyp.evaluation.evaluate import evaluate, evenly_spaced
from polyp.evaluation.examples import Example, Turned, examples, extremes
from polyp.evaluation.figures import equivariance_figure, overlay, predictions_figure
from polyp.evaluation.inference import evaluation_mode
from polyp.evaluation.measurement import Equivariance, equivariance
from polyp.evaluation.results import Results
from polyp.evaluation.scores import dice, scores, summary
from polyp.evaluation.sweep import Sweep, check_angles, rotation_sweep

__all__ = [
    "Equivariance",
    "Example",
    "Results",
    "Sweep",
    "Turned",
    "check_angles",
    "dice",
    "equivariance",
    "equivariance_figure",
    "evaluate",
    "evaluation_mode",
    "evenly_spaced",
    "examples",
    "extremes",
    "overlay",
    "predictions_figure",
    "rotation_sweep",
    "scores",
    "summary",
]
