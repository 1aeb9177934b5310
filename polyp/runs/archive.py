"""An archive: the results of many runs in two files, for publication.

`results.parquet` is one table with the columns of scores.csv, equivariance.csv and shifts.csv, and
a row per run, table, test set, image, and angle or shift. `manifest.json` has the config,
metrics.json, provenance.json and split of each run. An archive has no checkpoints, figures or logs.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyp.errors import UserError
from polyp.files import atomic_path, write_json
from polyp.runs.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

RESULTS = "results.parquet"
MANIFEST = "manifest.json"
LABELS = ["run", "table"]  # columns that say where a row comes from
NEEDS = "archives need pyarrow; install it with: pip install pyarrow"


class ArchivedRun(RunFolder):
    """A run in an archive. Its results are read like those in a run's folder.

    Args:
        archive: the archive.
        name: name of the run in the archive.
    """

    def __init__(self, archive: "Archive", name: str):
        super().__init__(archive.path / name)
        self._archive, self._name = archive, name

    @property
    def finished(self) -> bool:
        return "metrics.json" in self._entry

    @property
    def trained(self) -> RunFolder:
        run = self.json("provenance.json").get("run")
        return self if run is None else ArchivedRun(self._archive, run)

    def flat_config(self) -> dict[str, Any]:
        return self._entry["config"]

    def json(self, name: str) -> dict[str, Any]:
        if name == "split.json":
            return self._archive.manifest["splits"][self._entry["split"]]
        return self._entry[name]

    def has_table(self, name: str) -> bool:
        return name in self._entry["columns"]

    def _table(
        self, name: str, key: list[str], numbers: list[str], others: Sequence[str] = ()
    ) -> "pd.DataFrame":
        """Does nothing: runs are checked before they are archived."""
        results = self._archive.results
        rows = results[(results["run"] == self._name) & (results["table"] == name)]
        return rows.loc[:, self._entry["columns"][name]].reset_index(drop=True)

    @property
    def _entry(self) -> dict[str, Any]:
        return self._archive.manifest["runs"][self._name]


class Archive:
    """The two files in a folder.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path):
        self.path = path

    def exists(self) -> bool:
        return (self.path / MANIFEST).is_file() and (self.path / RESULTS).is_file()

    def runs(self) -> list[RunFolder]:
        """The runs with results.

        Raises:
            UserError: the manifest is damaged.
        """
        runs = [ArchivedRun(self, name) for name in self.manifest["runs"]]
        return [run for run in runs if run.finished]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """{"runs": {name: {"config", "metrics.json", "provenance.json", "split", "columns"}},
        "splits": {checksum: {"train": ids, "val": ids, "test": ids}}}."""
        path = self.path / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            return {key: dict(manifest[key]) for key in ("runs", "splits")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not the manifest of an archive ({error})") from error

    @cached_property
    def results(self) -> "pd.DataFrame":
        import pandas as pd

        path = self.path / RESULTS
        try:
            results = pd.read_parquet(path)
        except ImportError as error:
            raise UserError(f"{path}: {NEEDS}") from error
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: not the results of an archive ({error})") from error
        text = [*LABELS, "test_set", "group", "image"]
        return results.astype(dict.fromkeys(text, str))


def write_archive(runs: Sequence[RunFolder], output: Path) -> None:
    """Writes the results of runs as an archive; an earlier one there is replaced.

    Args:
        runs: finished runs, or later evaluations of runs.
        output: a folder.

    Raises:
        UserError: a run is unfinished or damaged, or pyarrow is not installed.
    """
    import pandas as pd

    named = _named(runs)
    splits: dict[str, dict[str, list[str]]] = {}
    entries = {name: _entry(run, splits) for name, run in named.items()}
    by_path = {run.path.resolve(): name for name, run in named.items()}
    for name, run in named.items():
        trained = run.trained
        if trained is not run:
            source = trained.path.resolve()
            if source not in by_path:
                raise UserError(f"{run}: this is an evaluation of {source}; add that run to runs=")
            entries[name]["provenance.json"]["run"] = by_path[source]

    tables = []
    for name, run in named.items():
        for table, rows in _tables(run).items():
            entries[name]["columns"][table] = list(rows.columns)
            tables.append(rows.assign(run=name, table=table))
    results = pd.concat(tables, ignore_index=True)
    ordered = [*LABELS, *results.columns.difference(LABELS, sort=False)]
    try:
        with atomic_path(output / RESULTS) as temporary:
            results[ordered].to_parquet(temporary, compression="zstd", index=False)
    except ImportError as error:
        raise UserError(f"{output / RESULTS}: {NEEDS}") from error
    write_json(output / MANIFEST, {"runs": entries, "splits": splits})


def _named(runs: Sequence[RunFolder]) -> dict[str, RunFolder]:
    """The runs by the ends of their paths, each with as many folders as make it unique. An archive
    of archived and other runs keeps the names."""
    paths = [run.path.resolve().parts for run in runs]
    named = {}
    for path, run in zip(paths, runs, strict=True):
        depth = 1
        while any(other[-depth:] == path[-depth:] for other in paths if other != path):
            depth += 1
        named["/".join(path[-depth:])] = run
    return named


def _entry(run: RunFolder, splits: dict[str, dict[str, list[str]]]) -> dict[str, Any]:
    """The entry of a run in the manifest; adds its split to `splits`."""
    if not run.finished:
        raise UserError(f"{run}: unfinished, it has no metrics.json")
    split = run.split()
    checksum = hashlib.sha256(json.dumps(split).encode()).hexdigest()[:12]
    splits[checksum] = split
    files = {name: run.json(name) for name in ("metrics.json", "provenance.json")}
    return {"config": run.trained.flat_config(), **files, "split": checksum, "columns": {}}


def _tables(run: RunFolder) -> "dict[str, pd.DataFrame]":
    tables = {"scores.csv": run.scores(), "equivariance.csv": run.equivariance()}
    shifts = run.shifts()
    return tables if shifts is None else {**tables, "shifts.csv": shifts}
