"""Evaluate a finished run, or prediction maps: `polyp evaluate run=PATH data=cvc`."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from polyp.cli import command_line, named_keys
from polyp.errors import UserError


@command_line("evaluate")
def main(config: DictConfig) -> None:
    data_choice = HydraConfig.get().runtime.choices["data"]
    if config.run is None and config.maps is None:
        raise UserError("run= or maps= is missing: polyp evaluate run=PATH data=cvc")
    if config.maps is not None:
        from polyp.runs.maps import evaluate_maps

        evaluate_maps(config, data_choice)
    else:
        from polyp.runs.evaluate import evaluate_run

        evaluate_run(config, data_choice, named_keys())


if __name__ == "__main__":
    main()
