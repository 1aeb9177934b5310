"""The package on systems that lack what only Unix has."""

import subprocess
import sys
from pathlib import Path

# Modules, and what else of the standard library is missing on Windows.
CODE = """
import os, pkgutil, signal, sys
import torch, lightning, albumentations  # what they need of the system is their own concern
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for module, names in {
    signal: ("SIGKILL", "SIGHUP", "SIGUSR1"),
    os: ("fork", "getuid", "killpg"),
}.items():
    for name in names:
        vars(module).pop(name, None)

import polyp
from polyp.cli import configs_folder
for module in pkgutil.walk_packages(polyp.__path__, "polyp."):
    if not module.name.startswith("polyp.configs"):
        __import__(module.name)

from hydra import compose, initialize_config_dir
with initialize_config_dir(str(configs_folder()), version_base="1.3"):
    assert compose("train", ["model=p4unet"]).model.layers._target_ == "polyp.layers.P4Layers"
"""


def test_every_module_can_be_imported_without_what_only_unix_has():
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
