"""Download a dataset: `polyp download data=kvasir`."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from polyp.cli import command_line, named_keys


@command_line("download_data")
def main(config: DictConfig) -> None:
    from polyp.data.download import download

    download(config, HydraConfig.get().runtime.choices["data"], named_keys())


if __name__ == "__main__":
    main()
