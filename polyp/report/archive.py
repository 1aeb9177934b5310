"""Archives the results of runs."""

from pathlib import Path

from omegaconf import DictConfig

from polyp.errors import UserError
from polyp.runs.archive import MANIFEST, RESULTS, write_archive
from polyp.runs.find import find_runs


def archive(config: DictConfig) -> str:
    """Archives the results of the finished runs that `config.runs` names.

    Args:
        config: configs/archive.yaml.

    Returns:
        The text to print: how many runs are archived, and which were skipped.

    Raises:
        UserError: there is no finished run, a run is damaged, or `output` holds something else.
    """
    output = Path(str(config.output))
    _check(output)
    runs = find_runs(config.runs)
    finished = [run for run in runs if run.finished]
    if not finished:
        raise UserError(f"runs={config.runs}: no run is finished")
    write_archive(finished, output)
    lines = [f"skipped: {run}: unfinished" for run in runs if not run.finished]
    count = "1 run" if len(finished) == 1 else f"{len(finished)} runs"
    return "\n".join([*lines, f"{count} archived in {output}"])


def _check(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise UserError(f"output={output}: is a file; give a folder")
    others = {path.name for path in output.glob("*")} - {MANIFEST, RESULTS}
    if others:
        raise UserError(
            f"output={output}: contains {min(others)}, which is not part of an archive; give a new "
            "folder, or the folder of an earlier archive"
        )
