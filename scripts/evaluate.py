"""Measure a finished run again: `python scripts/evaluate.py run=PATH data=cvc`."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from polyp.cli import command_line


@command_line(config_path="../configs", config_name="evaluate")
def main(config: DictConfig) -> None:
    from polyp.reevaluation import reevaluate

    hydra = HydraConfig.get()
    named = {override.split("=")[0].lstrip("+") for override in hydra.overrides.task}
    reevaluate(config, hydra.runtime.choices["data"], named)


if __name__ == "__main__":
    main()
