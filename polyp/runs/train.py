"""Trains and evaluates one run, from its config to its folder."""

import atexit
import hashlib
import logging
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import lightning
import numpy as np
from hydra.utils import instantiate
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import nn
from tqdm.contrib.logging import logging_redirect_tqdm

from polyp.errors import UserError
from polyp.layers.irreps import IrrepBatchNorm
from polyp.names import dataset_name, system_name
from polyp.runs.folder import RunFolder, flat
from polyp.runs.identity import (
    Identity,
    check_continues,
    identity_of,
    make_identity,
)
from polyp.runs.loading import load_checkpoint, put_weights, read_checkpoint
from polyp.runs.measure import EvaluationOptions, log_summary, measure, sweep_angles
from polyp.runs.processes import in_sweep
from polyp.runs.provenance import gpu_name, provenance
from polyp.runs.signals import prints_resume_hint
from polyp.runs.test_sets import (
    TestSet,
    make_test_sets,
    warn_of_seen,
    warn_of_shared_groups,
    warn_of_unknown,
)
from polyp.runs.traces import release_logs
from polyp.tasks import Task
from polyp.training import (
    Checkpoints,
    EarlyStopping,
    EquivarianceMonitor,
    RunProgress,
    Segmentation,
    StepSeed,
    ValidationImages,
    make_loggers,
)
from polyp.training.logging import log_image

log = logging.getLogger(__name__)


@prints_resume_hint
def run(config: DictConfig, folder: Path, choices: dict[str, str]) -> float:
    """Trains, evaluates the best checkpoint on the test set, and writes the run.

    Args:
        config: the composed config.
        folder: the run's folder; docs/run-folder.md lists its files.
        choices: names of the chosen configs, such as {"model": "p4unet", "data": "kvasir"}.

    Returns:
        The best validation Dice, for a sweep to maximise.

    Raises:
        UserError: for mistakes of the user.
        Stopped: on SIGTERM or Ctrl-C.
    """
    run_folder = RunFolder(folder)
    resume = _resumed_checkpoint(config, run_folder)
    options = EvaluationOptions.of(config)
    task: Task = instantiate(config.task)
    metrics = instantiate(config.metrics)
    lightning.seed_everything(config.seed, verbose=False)
    model: nn.Module = instantiate(config.model)
    data: LightningDataModule = instantiate(config.data)
    try:
        model.check_size(data.image_size, data.image_size)
    except ValueError as error:
        raise UserError(f"data.image_size={data.image_size}: {error}") from error
    data.setup()
    test_sets = make_test_sets(
        config, data, task, lambda described, key: instantiate(described[key])
    )
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    log.info(
        "%s, %s parameters; %s: %s",
        choices["model"],
        f"{parameters:,}",
        choices["data"],
        ", ".join(f"{len(ids)} {part}" for part, ids in data.ids.items()),
    )

    warn_of_shared_groups(data)
    identity = make_identity(config, data)
    warn_of_seen(test_sets, identity)
    record = provenance(identity["data"])
    if config.init_from is not None:
        _warm_start(config, model, identity, test_sets)
    steps = None if resume is None else _resume(model, resume, identity)
    checkpoints = Checkpoints(folder / "checkpoints", resume, identity, record)
    # Curves of the steps that are repeated are hidden.
    loggers = make_loggers(config.get("logger"), folder, steps)

    def take_folder(trainer: Trainer, module: LightningModule) -> None:
        """Starts to write the folder, once the resumed checkpoint has been accepted."""
        trainer.loggers = loggers
        if trainer.is_global_zero:
            release_logs()
            checkpoints.copy_best()
            run_folder.unfinish()  # the metrics of a resumed run are of fewer epochs
            run_folder.write_config(config)
            run_folder.write_split(data.ids)

    trainer: Trainer = instantiate(
        config.trainer,
        default_root_dir=str(folder),
        logger=False,  # loggers write as soon as the trainer has them
        callbacks=[
            LambdaCallback(on_train_start=take_folder),
            StepSeed(config.seed),
            RunProgress(),
            ValidationImages(),
            *_optional_callbacks(config),
            checkpoints,
        ],
    )
    record["gpu"] = gpu_name(trainer.strategy.root_device)
    record["precision"] = str(trainer.precision)
    _check_sweep(trainer)
    if config.trainer.get("sync_batchnorm") and trainer.world_size > 1:
        _check_norms(model)
    if trainer.strategy.launcher is not None:
        # If this process failed, the processes that the launcher starts would wait for it forever.
        atexit.register(trainer.strategy.launcher.kill, signal.SIGKILL)
    module = Segmentation(
        model,
        task,
        loss=instantiate(config.loss),
        optimizer=instantiate(config.optimizer),
        schedule=instantiate(config.schedule),
    )
    with logging_redirect_tqdm():
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    if not checkpoints.has_best():
        raise UserError(
            f"resume={resume}: no epoch is left to train, and there is no best.ckpt beside it to "
            "evaluate"
        )
    take_folder(trainer, module)  # if no epoch was left to train
    if identity["init_from"] is not None:
        record["init_from"] = identity["init_from"]
    if checkpoints.earlier:
        record["earlier"] = checkpoints.earlier
    record["training_seconds"] = round(checkpoints.seconds, 1)
    if not trainer.is_global_zero:
        _let_threads_finish()
        return checkpoints.best_score

    load_checkpoint(model, checkpoints.best)
    started = time.monotonic()
    measured = measure(
        model,
        task,
        test_sets,
        metrics,
        options,
        trainer.strategy.root_device,
        run_folder,
        title=f"{system_name(choices['model'], config.name)} on {dataset_name(choices['data'])}",
        facts={
            **{name: choices[name] for name in ("model", "data", "augmentation")},
            "split": data.split_name,
            "seed": config.seed,
            "epochs": trainer.fit_loop.epoch_progress.current.processed,
            "best_epoch": checkpoints.best_epoch,
            "val": {"dice": checkpoints.best_score},
        },
    )
    record["evaluation_seconds"] = round(time.monotonic() - started, 1)
    _log_final(loggers, config, measured, folder)
    run_folder.write_metrics(measured, record)
    log_summary(measured)
    log.info("run written to %s", folder)
    return checkpoints.best_score


def _resumed_checkpoint(config: DictConfig, folder: RunFolder) -> Path | None:
    if config.resume is not None:
        resume = Path(config.resume)
        if not resume.is_file():
            raise UserError(
                f"resume={resume}: no such file; give a checkpoint, for example "
                "outputs/…/checkpoints/last.ckpt"
            )
        if folder.begun and resume.resolve().parent != folder.last.resolve().parent:
            raise UserError(
                f"hydra.run.dir={folder} already has a run: resume={folder.last} continues it; "
                f"choose another hydra.run.dir= to continue resume={resume}"
            )
        return resume
    if folder.last.exists():
        raise UserError(
            f"hydra.run.dir={folder} already has a run: resume={folder.last} continues it, "
            "another hydra.run.dir= starts a new one"
        )
    if folder.finished:
        raise UserError(f"hydra.run.dir={folder} already has a run: choose another hydra.run.dir=")
    return None


def _warm_start(
    config: DictConfig, model: nn.Module, identity: Identity, test_sets: Sequence[TestSet]
) -> None:
    """Loads the weights of `init_from` into the network, and stores their source in `identity`.

    Raises:
        UserError: there are no weights, or they were trained on test images of this run.
    """
    path = Path(config.init_from)
    if not path.is_file():
        raise UserError(
            f"init_from={path}: no such file; give a checkpoint, for example "
            "outputs/…/checkpoints/best.ckpt"
        )
    try:
        checkpoint = read_checkpoint(path)
        put_weights(model, checkpoint, path)
    except UserError as error:
        raise UserError(f"init_from={error}") from error
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    source = identity_of(checkpoint)
    identity["init_from"] = {"path": str(path.resolve()), "sha256": sha256, "identity": source}
    if source is None:
        warn_of_unknown(f"init_from={path}")
    for test_set in test_sets:
        known = test_set.seen(source)
        if not known:
            continue
        found = (
            f"its run was trained on {len(known)} of the {len(test_set.ids())} test images of "
            f"{test_set.name}, for example {known[0]}"
        )
        if not config.init_from_seen:
            raise UserError(
                f"init_from={path}: {found}; data.split_file= with its split.json avoids this, "
                "init_from_seen=true accepts it"
            )
        log.warning("init_from=%s: %s", path, found)


def _let_threads_finish() -> None:
    """Waits until gloo's threads have freed their last operation.

    They need the interpreter for it. If it ends before, the whole process aborts.
    """
    time.sleep(1)


def _check_norms(model: nn.Module) -> None:
    """Raises UserError if a normalisation keeps statistics that are those of one GPU alone."""
    if any(isinstance(module, IrrepBatchNorm) for module in model.modules()):
        raise UserError(
            "trainer.sync_batchnorm=true: networks with rotations=continuous have a normalisation "
            "of their own, without statistics over several GPUs; add trainer.sync_batchnorm=false"
        )


def _check_sweep(trainer: Trainer) -> None:
    if in_sweep() and trainer.world_size > 1 and not SLURMEnvironment.detect():
        # Each process would run the whole sweep, and a sampler would propose other values in each.
        raise UserError(
            f"a sweep (-m) trains each run in one process, but the trainer has "
            f"{trainer.world_size}: use trainer=auto, or start the runs one by one"
        )


def _resume(model: nn.Module, resume: Path, identity: Identity) -> int:
    """The number of steps up to the checkpoint, after checking that the run can be resumed from it.

    Lightning would find the same errors, but only later and with a traceback.
    """
    try:
        checkpoint = read_checkpoint(resume)
    except UserError as error:
        raise UserError(f"resume={error}") from error
    there = identity_of(checkpoint)
    source, started = identity["init_from"], (there or {}).get("init_from")
    if source is not None and source["sha256"] != (started or {}).get("sha256"):
        raise UserError(
            f"resume={resume} and init_from={source['path']} exclude each other, because that run "
            "did not start from these weights; remove one"
        )
    if there is None:
        log.warning(
            "resume=%s: from an earlier version, which does not store what it was trained on: "
            "make sure that data and config are the same",
            resume,
        )
    else:
        try:
            check_continues(there, identity)
        except UserError as error:
            raise UserError(
                f"resume={resume}: {error}; init_from= starts a new run from its weights"
            ) from error
        identity["init_from"] = started
    try:
        put_weights(model, checkpoint, resume)
    except UserError as error:
        raise UserError(f"resume={error}") from error
    return checkpoint.get("global_step", 0)


def _optional_callbacks(config: DictConfig) -> list[lightning.Callback]:
    callbacks: list[lightning.Callback] = []
    if config.evaluation.every_n_epochs:
        angles = sweep_angles(config, "drift_angles")
        callbacks.append(EquivarianceMonitor(config.evaluation.every_n_epochs, angles))
    if config.early_stopping_patience is not None:
        callbacks.append(EarlyStopping(Checkpoints.monitor, config.early_stopping_patience))
    return callbacks


def _log_final(loggers: Sequence[Logger], config: DictConfig, metrics: dict, folder: Path) -> None:
    """The final metrics beside the hyperparameters, the equivariance curve and the figures."""
    choices = ("model", "data", "augmentation", "split", "seed", "parameters", "image_size")
    hyperparameters = {
        **{name: metrics[name] for name in choices},
        "batch_size": config.data.batch_size,
        "epochs": metrics["epochs"],
    }
    for key in ("optimizer", "schedule", "model"):
        for option, value in flat(OmegaConf.to_container(config[key], resolve=True)).items():
            if option == "_target_" and key != "model":  # the model's name is logged already
                hyperparameters[key] = value.rsplit(".", 1)[-1]
            elif not option.endswith(("_target_", "_partial_")):
                hyperparameters[f"{key}/{option}"] = value
    finals = {
        f"test/{name}": score["mean"]
        for name, score in metrics["test"].items()
        if isinstance(score, dict) and score["mean"] is not None
    }
    equivariance = metrics["equivariance"]
    # Undefined values are not logged.
    finals |= {
        f"equivariance/{name}": equivariance[name]
        for name in ("mean", "min")
        if equivariance[name] is not None
    }
    curve = equivariance["curve"]
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(hyperparameters, finals)
        else:
            logger.log_hyperparams(hyperparameters)
            logger.log_metrics(finals, metrics["epochs"])
        for angle, dice in zip(curve["angles"], curve["dice"], strict=True):
            if dice is not None:
                logger.log_metrics({"equivariance/dice_by_angle": dice}, round(angle))
    for name in ("equivariance", "predictions"):
        with Image.open(folder / f"{name}.png") as figure:
            picture = np.asarray(figure.convert("RGB")) / 255
        log_image(loggers, f"test/{name}", picture[None], metrics["epochs"])
    for logger in loggers:
        logger.finalize("success")
