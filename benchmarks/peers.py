"""Compares our networks with networks of e2cnn with the same group, widths and kernel size."""

import time
from collections.abc import Callable

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from benchmarks.result import Result, Skipped
from benchmarks.timing import TrainingStep, alternating, images, in_fresh_process
from polyp.models import collapse

TRAINING_TARGET = 1.5
INFERENCE_TARGET = 2.5
CONSTRUCTION_TARGET = 5.0

Peer = tuple[tuple[int, ...], int, int]  # widths, rotations and kernel size of an e2cnn U-Net


def measure(config: DictConfig) -> list[Result | Skipped]:
    """Construction, training step and inference: e2cnn's time divided by ours.

    e2cnn runs in float32. Its inference is measured both as it is and exported; the faster one
    counts. Our network is collapsed for inference. bfloat16 changes numbers, so it is optional:
    trainer.precision=bf16-mixed in training, precision=bfloat16 in prediction.
    """
    results: list[Result | Skipped] = []
    groups: dict[Peer, dict[str, DictConfig]] = {}
    for name, model_config in config.models.items():
        peer = peer_of(model_config)
        if peer is None:
            reason = "the e2cnn network of this benchmark supports only groups of rotations"
            results.append(Skipped("peers", f"{name} against e2cnn", reason))
        else:
            groups.setdefault(peer, {})[name] = model_config
    for peer, models in groups.items():
        results += _against(peer, models, config)
    return results


def peer_of(model_config: DictConfig) -> Peer | None:
    """The arguments of e2cnn's network of the same group; None if the group is not C_N."""
    layers = model_config.layers
    if layers.get("reflections") or layers.get("rotations") == "continuous":
        return None
    order = instantiate(layers).order
    return tuple(model_config.widths), order, layers.kernel_size


def _against(peer: Peer, models: dict[str, DictConfig], config: DictConfig) -> list[Result]:
    from benchmarks.e2cnn_unet import E2cnnUNet

    device, (batch, size) = config.device, (config.peers.batch_size, config.image_size)
    rival = E2cnnUNet(*peer)
    ours = {name: instantiate(model_config) for name, model_config in models.items()}

    training: dict = {"e2cnn": TrainingStep(rival, batch, size, device)}
    for name, model_config in models.items():
        for precision in ("float32", "bfloat16"):
            training[name, precision] = TrainingStep(
                instantiate(model_config), batch, size, device, precision == "bfloat16"
            )
    training_seconds = alternating(training, config.peers.rounds, device)
    del training

    with torch.no_grad():  # where e2cnn expands its filters
        rival.eval()
    inference = _inference(rival, ours, images(batch, size, device))
    with torch.inference_mode():
        inference_seconds = alternating(inference, config.peers.rounds, device)
    ways = {way: inference_seconds[way] for way in ("e2cnn", "e2cnn exported")}
    best = min(ways.values())
    both = "; " + ", ".join(f"{way} {seconds:.3f} s" for way, seconds in ways.items())

    e2cnn_build = in_fresh_process(_build_peer, peer)
    results = []
    for name, model in ours.items():
        counts = [sum(p.numel() for p in m.parameters()) for m in (rival, model)]
        build = in_fresh_process(_build, OmegaConf.to_container(models[name], resolve=True))
        construction = (
            f"{e2cnn_build:.2f} s / {build:.3f} s; {counts[0]:,} and {counts[1]:,} parameters"
        )
        results.append(
            _faster(f"{name}: construction", e2cnn_build / build, CONSTRUCTION_TARGET, construction)
        )
        for what, target, theirs, ours_seconds, note in (
            ("training step", TRAINING_TARGET, training_seconds["e2cnn"], training_seconds, ""),
            ("inference", INFERENCE_TARGET, best, inference_seconds, both),
        ):
            for precision in ("float32", "bfloat16"):
                taken = ours_seconds[name, precision]
                detail = f"{theirs:.3f} s / {taken:.3f} s{note}"
                results.append(
                    _faster(f"{name}: {what} in {precision}", theirs / taken, target, detail)
                )
    return results


def _faster(what: str, ratio: float, target: float, detail: str) -> Result:
    return Result("peers", f"{what}, e2cnn / ours", ratio, "×", target, True, detail)


def _inference(
    rival: nn.Module, ours: dict[str, nn.Module], image: torch.Tensor
) -> dict[str | tuple[str, str], Callable]:
    """A forward pass of each network, in evaluation."""
    from benchmarks.e2cnn_unet import Exported

    exported = Exported(rival).to(image.device)
    passes: dict = {"e2cnn": lambda: rival(image), "e2cnn exported": lambda: exported(image)}
    for name, model in ours.items():
        for precision in (torch.float32, torch.bfloat16):
            plain = collapse(model).to(image.device, precision)

            def run(plain: nn.Module = plain, precision: torch.dtype = precision) -> torch.Tensor:
                return plain(image.to(precision))

            passes[name, str(precision).removeprefix("torch.")] = run
    return passes


def _build_peer(peer: Peer) -> float:
    """Seconds to build e2cnn's network; with its import, as in `_build`."""
    started = time.perf_counter()
    from benchmarks.e2cnn_unet import E2cnnUNet

    E2cnnUNet(*peer)
    return time.perf_counter() - started


def _build(plain: dict) -> float:
    """Seconds to build our network, with the imports that only its family needs."""
    started = time.perf_counter()
    instantiate(OmegaConf.create(plain))
    return time.perf_counter() - started
