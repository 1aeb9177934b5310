"""Turn your own images in the browser: `polyp serve run=PATH`."""

from omegaconf import DictConfig

from polyp.cli import command_line


@command_line("serve")
def main(config: DictConfig) -> None:
    from polyp.viewer.serve import serve

    serve(config)


if __name__ == "__main__":
    main()
