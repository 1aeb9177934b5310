"""Measure a finished run again: `polyp evaluate run=PATH data=cvc`."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from polyp.cli import command_line, named_keys


@command_line("evaluate")
def main(config: DictConfig) -> None:
    from polyp.runs.evaluate import reevaluate

    reevaluate(config, HydraConfig.get().runtime.choices["data"], named_keys())


if __name__ == "__main__":
    main()
