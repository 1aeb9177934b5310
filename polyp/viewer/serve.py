"""Serves a page to choose images on, for trained networks to show what they find in them."""

import importlib.util
import logging
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from polyp.errors import UserError
from polyp.runs.folder import RunFolder
from polyp.viewer.networks import Network, open_network, open_runs, shared_geometry

if TYPE_CHECKING:
    import uvicorn

log = logging.getLogger(__name__)

HOST = "127.0.0.1"  # this computer: nothing else can reach it
PACKAGES = {"starlette": "starlette", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}


def serve(config: DictConfig) -> None:
    """Serves the page until it is interrupted.

    Args:
        config: configs/serve.yaml.

    Raises:
        UserError: a package is missing, there is no finished run, the port cannot be used, or the
            runs prepare images differently.
    """
    _check_installed()
    runs = _runs(config)
    geometry = shared_geometry(runs)
    if geometry.channels not in (1, 3):
        raise UserError(
            f"data.channels={geometry.channels} of {runs[0]}: grey (1) or RGB (3) is needed"
        )
    with listen(config.port) as listening:
        import uvicorn

        from polyp.viewer.app import make_app

        networks = [open_network(run, config.device) for run in runs]
        app = make_app(networks, geometry, config.step, config.max_megabytes)
        log.info(
            "open http://%s:%d in a browser; Ctrl-C stops the server", *listening.getsockname()
        )
        options = uvicorn.Config(app, log_config=None, log_level="warning", access_log=False)
        server = uvicorn.Server(options)
        stop_early(networks, server)
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


def stop_early(networks: Sequence[Network], server: "uvicorn.Server") -> None:
    """Lets the networks give up once the server has to stop, for Ctrl-C not to wait for a page."""
    from starlette.exceptions import HTTPException

    def check(*_: object) -> None:
        if server.should_exit:
            raise HTTPException(503, "the server was stopped")

    for network in networks:
        network.model.register_forward_pre_hook(check)


def _check_installed() -> None:
    missing = [name for module, name in PACKAGES.items() if not importlib.util.find_spec(module)]
    if missing:
        raise UserError(
            f"polyp serve needs {', '.join(missing)}; install with: pip install {' '.join(missing)}"
        )


def _runs(config: DictConfig) -> list[RunFolder]:
    if (config.run is None) == (config.runs is None):
        raise UserError("give either run=PATH, or runs=[PATH,PATH]")
    return [RunFolder.open(str(config.run))] if config.runs is None else open_runs(config.runs)


def listen(port: int) -> socket.socket:
    """A socket that only this computer reaches.

    Raises:
        UserError: the port cannot be used.
    """
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise UserError(
            f"port={port}: cannot be used ({os.strerror(error.errno or 0)}); choose another one; "
            "port=0 takes any that is free"
        ) from error
