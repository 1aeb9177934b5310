"""Compare runs on one HTML page: `polyp compare runs=GLOB output=FOLDER`."""

from omegaconf import DictConfig

from polyp.cli import command_line


@command_line("compare")
def main(config: DictConfig) -> None:
    from polyp.report import compare

    print(compare(config))


if __name__ == "__main__":
    main()
