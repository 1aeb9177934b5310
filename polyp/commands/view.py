"""Turn test images in the browser: `polyp view runs=[A,B] output=FILE.html`."""

from omegaconf import DictConfig

from polyp.cli import command_line


@command_line("view")
def main(config: DictConfig) -> None:
    from polyp.viewer import view

    view(config)


if __name__ == "__main__":
    main()
