"""Export a trained network: `polyp export run=PATH output=FILE.onnx`."""

from omegaconf import DictConfig

from polyp.cli import command_line


@command_line("export")
def main(config: DictConfig) -> None:
    from polyp.deploy.export import export

    export(str(config.run), str(config.output), config.overwrite)


if __name__ == "__main__":
    main()
