"""Get a dataset: `python scripts/download_data.py data=kvasir`."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from polyp.cli import command_line


@command_line(config_path="../configs", config_name="download_data")
def main(config: DictConfig) -> None:
    from polyp.data.download import download

    hydra = HydraConfig.get()
    named = {override.split("=")[0].lstrip("+") for override in hydra.overrides.task}
    download(config, hydra.runtime.choices["data"], named)


if __name__ == "__main__":
    main()
