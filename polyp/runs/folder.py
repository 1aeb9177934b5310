"""The run folder: the only reader and writer of the files in docs/run-folder.md.

torch and pandas take seconds to import. They are imported only when needed, so that finished jobs
of a sweep are skipped quickly. `polyp.runs.loading` builds the network of a run.
"""

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import polyp.resolvers  # noqa: F401  configs of runs use them
from polyp.errors import UserError
from polyp.files import atomic_path, write_json

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from polyp.evaluation import Results

PARTS = ("train", "val", "test")
# Files that are identical, byte for byte, if an evaluation is repeated.
TABLES = ("metrics.json", "scores.csv", "equivariance.csv", "split.json")


class RunFolder:
    """The folder of a run, or of a later evaluation, which has no checkpoints and no config.

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.best = self.path / "checkpoints" / "best.ckpt"
        self.last = self.path / "checkpoints" / "last.ckpt"

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """The run in a folder.

        Raises:
            UserError: there is no run, or its config cannot be read.
        """
        run = cls(path)
        missing = [file for file in (run._config, run._hydra) if not file.is_file()]
        if missing:
            raise UserError(
                f"run={path}: not a run, {missing[0]} is missing; give the folder of "
                "a run, for example outputs/DATA-MODEL/DATE_TIME"
            )
        try:
            run.choices  # noqa: B018  reads both files
            for key in ("model", "data", "trainer"):
                run.config[key]  # raises if it is not a config of train.py
        except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, KeyError) as error:
            raise UserError(f"run={path}: the configs in .hydra are damaged ({error})") from error
        return run

    # --- state

    @property
    def finished(self) -> bool:
        """Whether the run has ended: metrics.json is written last."""
        return (self.path / "metrics.json").exists()

    @property
    def begun(self) -> bool:
        """Whether the folder holds a run, finished or not."""
        return self.finished or self.last.exists()

    @property
    def trained(self) -> "RunFolder":
        """The run itself; for a later evaluation, the run that was evaluated.

        Raises:
            UserError: provenance.json is missing or damaged.
        """
        run = self.json("provenance.json").get("run")
        return self if run is None else RunFolder(run)

    # --- config

    @property
    def _config(self) -> Path:
        return self.path / ".hydra" / "config.yaml"

    @property
    def _hydra(self) -> Path:
        return self.path / ".hydra" / "hydra.yaml"

    @cached_property
    def config(self) -> DictConfig:
        """The composed config that the run was trained with."""
        return OmegaConf.load(self._config)

    @cached_property
    def choices(self) -> dict[str, str]:
        """Names of the chosen configs, such as {"model": "p4unet", "data": "kvasir"}."""
        return OmegaConf.to_container(OmegaConf.load(self._hydra).hydra.runtime.choices)

    def flat_config(self) -> dict[str, Any]:
        """The config as {"model.layers.kernel_size": 3}, interpolations unresolved.

        Raises:
            UserError: it is missing or damaged.
        """
        try:
            return flat(OmegaConf.to_container(OmegaConf.load(self._config)))
        except FileNotFoundError as error:
            raise UserError(f"{self._config}: missing") from error
        except (
            yaml.YAMLError,
            OmegaConfBaseException,
            UnicodeDecodeError,
            AttributeError,
        ) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{self._config}: damaged ({reason})") from error

    def differences(
        self, config: DictConfig, ignored: Callable[[str], bool]
    ) -> dict[str, tuple[Any, Any]]:
        """How a config differs from the run's: {"data.batch_size": (there, here)}.

        Interpolations are compared unresolved. A key that is missing in one config is None there.

        Args:
            ignored: returns whether a key, such as "data.cache", is ignored.

        Raises:
            UserError: the run's config is missing or damaged.
        """
        there = self.flat_config()
        # Written and read again, so that both have the same types.
        here = flat(OmegaConf.to_container(OmegaConf.create(OmegaConf.to_yaml(config))))
        return {
            key: (there.get(key), here.get(key))
            for key in sorted(there.keys() | here.keys())
            if there.get(key) != here.get(key) and not ignored(key)
        }

    def write_config(self, config: DictConfig) -> None:
        """Writes `.hydra/` as Hydra would. Hydra would write it before anything is checked, and
        would replace the config of an existing run, so configs/train.yaml turns that off."""
        texts = {"config.yaml": OmegaConf.to_yaml(config)}  # unresolved, so ${seed} is kept
        if HydraConfig.initialized():
            hydra = HydraConfig.instance().cfg
            texts["hydra.yaml"] = OmegaConf.to_yaml(hydra)
            texts["overrides.yaml"] = OmegaConf.to_yaml(hydra.hydra.overrides.task)
        for name, text in texts.items():
            with atomic_path(self.path / ".hydra" / name) as temporary:
                temporary.write_text(text, encoding="utf-8")

    # --- results

    def json(self, name: str) -> dict[str, Any]:
        """The content of a JSON file of the run.

        Raises:
            UserError: it is missing, damaged, or not a JSON object.
        """
        path = self.path / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"{path}: missing") from error
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: damaged ({error})") from error
        if not isinstance(value, dict):
            raise UserError(f"{path}: not a JSON object")
        return value

    def split(self) -> dict[str, list[str]]:
        """Image ids of "train", "val" and "test"."""
        split = self.json("split.json")
        try:
            return {part: [str(id) for id in split[part]] for part in PARTS}
        except (KeyError, TypeError) as error:
            path = self.path / "split.json"
            raise UserError(f"{path}: not lists of train, val and test ids") from error

    def scores(self) -> "pd.DataFrame":
        """scores.csv: test_set, group, image, a column per metric, polyp_area.

        Runs of version 0.1 have neither test_set nor group: they are read as "own" and "".
        """
        return self._table("scores.csv", ["test_set", "image"], ["dice", "polyp_area"])

    def equivariance(self) -> "pd.DataFrame":
        """equivariance.csv: test_set, group, image, angle, dice (the consistency, nan where it is
        undefined), dice_truth and, in newer runs, what `polyp.evaluation.Results` adds."""
        return self._table(
            "equivariance.csv", ["test_set", "image", "angle"], ["angle", "dice_truth"], ["dice"]
        )

    def shifts(self) -> "pd.DataFrame | None":
        """shifts.csv: test_set, group, image, rows, columns, dice (the consistency); None where
        shifts were not measured."""
        if not self.has_table("shifts.csv"):
            return None
        key = ["test_set", "image", "rows", "columns"]
        return self._table("shifts.csv", key, ["rows", "columns"], ["dice"])

    def has_table(self, name: str) -> bool:
        """Whether the run has a table, such as "shifts.csv"."""
        return (self.path / name).exists()

    def _table(
        self, name: str, key: list[str], numbers: list[str], others: Sequence[str] = ()
    ) -> "pd.DataFrame":
        """A table.

        Args:
            key: columns that identify a row.
            numbers: required columns with finite numbers.
            others: further required columns.
        """
        import pandas as pd

        path = self.path / name
        try:
            # Ids and groups stay text, because 007 is not 7. Empty cells are undefined values.
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
        except FileNotFoundError as error:
            raise UserError(f"{path}: missing") from error
        except (OSError, UnicodeDecodeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path}: cannot be read ({reason})") from error
        if lacking := [column for column in ("image", *numbers, *others) if column not in table]:
            raise UserError(f"{path}: the column {', '.join(lacking)} is missing")
        if table.empty:
            raise UserError(f"{path}: has no rows")
        for column, value in (("group", ""), ("test_set", "own")):
            if column not in table:
                table.insert(0, column, value)
        for column in table.columns.difference(["test_set", "group", "image"]):
            values = pd.to_numeric(table[column].replace("", np.nan), errors="coerce")
            wrong = values.isna() & (table[column] != "") | np.isinf(values)
            if column in numbers:
                wrong |= values.isna()
            if wrong.any():
                found = table[column][wrong].iloc[0]
                raise UserError(f"{path}: column {column} has {found!r}, which is not a number")
            table[column] = table[column].replace("", np.nan).astype(float)
        if (twice := table.duplicated(key)).any():
            raise UserError(f"{path}: has image {table['image'][twice].iloc[0]!r} twice")
        return table

    def write_results(self, results: "Sequence[Results]", figures: "dict[str, Figure]") -> None:
        """Writes scores.csv and equivariance.csv of all test sets, and figures by file name."""
        import pandas as pd

        tables = {
            "scores.csv": pd.concat([each.scores.table() for each in results]),
            "equivariance.csv": pd.concat([each.equivariance() for each in results]),
        }
        shifts = [table for each in results if (table := each.shift_table()) is not None]
        if shifts:
            tables["shifts.csv"] = pd.concat(shifts)
        for name, table in tables.items():
            with atomic_path(self.path / name) as temporary:
                table.to_csv(temporary, index=False, lineterminator="\n")
        for name, figure in figures.items():
            with atomic_path(self.path / name) as temporary:
                figure.savefig(temporary)

    def write_split(self, ids: dict[str, list[str]]) -> None:
        """Writes the image ids of the three parts."""
        with atomic_path(self.path / "split.json") as temporary:
            temporary.write_text(json.dumps(ids, indent=1) + "\n", encoding="utf-8")

    def write_metrics(self, metrics: dict[str, Any], provenance: dict[str, Any]) -> None:
        """Writes provenance.json, then metrics.json, which marks the run as finished."""
        write_json(self.path / "provenance.json", provenance)
        write_json(self.path / "metrics.json", metrics)

    def unfinish(self) -> None:
        """Removes metrics.json, because the run continues."""
        (self.path / "metrics.json").unlink(missing_ok=True)


def flat(config: dict, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}; lists stay values."""
    pairs: dict[str, Any] = {}
    for key, value in config.items():
        pairs |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return pairs
