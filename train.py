"""Train a network and measure it: `python train.py model=p4unet data=kvasir`."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from polyp.cli import command_line


@command_line(config_path="configs", config_name="train")
def main(config: DictConfig) -> float:
    # Not at the top: `--help` and `--cfg job` need no torch, and answer at once.
    from polyp.run import run

    hydra = HydraConfig.get()
    return run(config, Path(hydra.runtime.output_dir), dict(hydra.runtime.choices))


if __name__ == "__main__":
    main()
