"""Measure cost against fixed targets (needs the checkout): `polyp benchmark`."""

import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import polyp
from polyp.cli import command_line
from polyp.errors import UserError


@command_line("benchmark")
def main(config: DictConfig) -> None:
    checkout = Path(polyp.__file__).parents[1]
    if not (checkout / "benchmarks" / "run.py").is_file():
        raise UserError(
            "the installed package does not contain the benchmarks: clone the repository and "
            "run python scripts/benchmark.py there"
        )
    sys.path.insert(0, str(checkout))

    from benchmarks.run import benchmark

    print(benchmark(config, Path(HydraConfig.get().runtime.output_dir)))


if __name__ == "__main__":
    main()
