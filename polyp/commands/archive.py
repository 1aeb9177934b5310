"""Publish the results of runs: `polyp archive runs=GLOB output=FOLDER`."""

from omegaconf import DictConfig

from polyp.cli import command_line


@command_line("archive")
def main(config: DictConfig) -> None:
    from polyp.report.archive import archive

    print(archive(config))


if __name__ == "__main__":
    main()
