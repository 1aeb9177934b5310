"""Compares runs on one page: `python scripts/compare.py runs=GLOB output=FOLDER`."""

from omegaconf import DictConfig

from polyp.cli import command_line


@command_line(config_path="../configs", config_name="compare")
def main(config: DictConfig) -> None:
    from polyp.report import compare

    print(compare(config))


if __name__ == "__main__":
    main()
