"""Starting the service and saying where it is."""

from __future__ import annotations

import socket
import sys
import tempfile

import uvicorn

from blemish.errors import ConfigError
from blemish.service.app import create_app
from blemish.service.settings import ServiceConfig

__all__ = ["serve"]

GRACE_S = 3  # that open connections have when the service stops


def serve(config: ServiceConfig) -> None:
    """Until Ctrl-C. Raises ``ConfigError`` or ``OutputError`` if it cannot start."""
    listening = _bound(config)
    with listening:
        app = create_app(config)
        # files that arrive wait on the disk that they will stay on: the system's folder may be small
        tempfile.tempdir = str(config.data / "scratch")
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        host = f"[{config.host}]" if ":" in config.host else config.host
        port = listening.getsockname()[1]
        print(f"blemish: http://{host}:{port}/ (data in {config.data}; Ctrl-C stops)", file=sys.stderr, flush=True)
        server.run(sockets=[listening])


def _bound(config: ServiceConfig) -> socket.socket:
    """A socket on the address, so that what is wrong with it is said before anything else is done."""
    try:
        family, _, _, _, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen()  # who comes between the address being told and the first answer waits
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {config.host}, port {config.port}: {error.strerror or error}. Choose another --port."
        ) from error
    return listening
