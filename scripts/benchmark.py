"""What everything costs, against what it may cost: `python scripts/benchmark.py`."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from polyp.cli import command_line


@command_line(config_path="../configs", config_name="benchmark")
def main(config: DictConfig) -> None:
    from benchmarks.run import benchmark

    print(benchmark(config, Path(HydraConfig.get().runtime.output_dir)))


if __name__ == "__main__":
    main()
