"""Measure the equivariance error of random networks: `polyp rotation_error output=FILE.png`."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from polyp.cli import command_line


@command_line("rotation_error")
def main(config: DictConfig) -> None:
    from hydra.utils import instantiate
    from tqdm import tqdm

    from polyp.evaluation.figures import rotation_error_figure
    from polyp.files import atomic_path
    from polyp.layers.rotation_error import rotation_error

    angles = list(config.angles)
    errors: dict[str, Sequence[float]] = {
        str(name): rotation_error(instantiate(family), angles, config.seeds).tolist()
        for name, family in tqdm(config.families.items(), "Measuring", unit="family", disable=None)
    }
    with atomic_path(Path(config.output)) as temporary:
        rotation_error_figure(angles, errors).savefig(temporary)
    for name, values in errors.items():
        by_angle = dict(zip(angles, values, strict=True))
        shown = "  ".join(f"{a}°: {by_angle[a]:.3f}" for a in (15, 30, 45) if a in by_angle)
        print(f"{name:32}{shown}")


if __name__ == "__main__":
    main()
