"""Segment images: `polyp predict run=PATH input=FILE_OR_FOLDER output=FOLDER`."""

from omegaconf import DictConfig

from polyp.cli import command_line


@command_line("predict")
def main(config: DictConfig) -> None:
    from polyp.deploy.predict import predict_files

    predict_files(config)


if __name__ == "__main__":
    main()
