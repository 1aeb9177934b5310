"""What, beside the config, a reader needs to believe the numbers of a run or to make them again."""

import platform
import shlex
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import polyp
from polyp.cli import told


def provenance() -> dict[str, Any]:
    """Command, version, commit, time, versions and machine."""
    return {
        "command": shlex.join(told()),
        "version": polyp.__version__,
        "commit": _commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _commit() -> str | None:
    """Of this checkout; None for an installed package, which may lie in another repository."""
    checkout = Path(polyp.__file__).parents[1]
    if not (checkout / ".git").exists():
        return None
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or None
