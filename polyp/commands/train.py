"""Train and evaluate a network: `polyp train model=p4unet data=kvasir`."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from polyp.cli import command_line
from polyp.runs.jobs import run_job, sweep_report


@command_line("train", around=sweep_report)
def main(config: DictConfig) -> float | None:
    hydra = HydraConfig.get()
    arguments = config, Path(hydra.runtime.output_dir), dict(hydra.runtime.choices)
    if hydra.mode is RunMode.MULTIRUN:
        return run_job(*arguments)

    from polyp.runs.train import run

    return run(*arguments)


if __name__ == "__main__":
    main()
