"""The facts, besides the config, that are needed to check or reproduce the numbers of a run."""

import hashlib
import platform
import shlex
import subprocess
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch

import polyp
from polyp.cli import typed_command
from polyp.training.trainer import cpu_multiplies_bf16


def provenance(
    data: dict[str, str] | None = None, device: torch.device | None = None
) -> dict[str, Any]:
    """Command, version, commit, time, installed packages and machine.

    Args:
        data: name and checksum of the dataset, see `polyp.runs.identity.data_identity`.
        device: where the network runs, if it is known.
    """
    return {
        "command": shlex.join(typed_command()),
        "version": polyp.__version__,
        "commit": _commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": data,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "packages_sha256": _packages(),
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "processor": _processor(),
        "gpu": gpu_name(device),
    }


def gpu_name(device: torch.device | None) -> str | None:
    """The name of the GPU, such as "NVIDIA H100"; None for another device."""
    return torch.cuda.get_device_name(device) if device and device.type == "cuda" else None


def _packages() -> str:
    """The checksum of the sorted lines name==version of all installed packages. Two runs with the
    same checksum had the same versions of all packages."""
    found = {f"{package.name.lower()}=={package.version}" for package in distributions()}
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()


def _processor() -> str:
    """The processor and the widest instructions that torch uses: "AMD EPYC, AVX512, bfloat16"."""
    bfloat16 = ["bfloat16"] if cpu_multiplies_bf16() else []
    return ", ".join([_processor_model(), torch.backends.cpu.get_cpu_capability(), *bfloat16])


def _processor_model() -> str:
    info = Path("/proc/cpuinfo")  # on Linux platform.processor() is often empty
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of this checkout; None for an installed package."""
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
