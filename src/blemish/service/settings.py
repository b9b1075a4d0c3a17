"""What whoever starts the service can choose, with its defaults. Values and their checks only."""

from __future__ import annotations

import ipaddress
import math
import socket
from dataclasses import dataclass
from pathlib import Path

from blemish.errors import ConfigError, InputError
from blemish.inputs.images import MAX_PIXELS

__all__ = ["Limits", "ServiceConfig", "is_loopback", "read_token"]

SHORTEST_TOKEN = 16  # characters: beyond what can be guessed through a network


@dataclass(frozen=True)
class Limits:
    """How much one client may ask for. Sizes in bytes, rates in requests a second and client; a rate of 0: any."""

    upload: int = 2 * 2**30  # of one request
    dataset: int = 50 * 2**30
    files: int = 20_000  # of a data set, and of an archive
    file: int = 512 * 2**20
    ratio: float = 200.0  # that an archive's entry may shrink by
    pixels: int = MAX_PIXELS  # of a photo
    body: int = 2**20  # of a request that is no upload
    rate: float = 200.0  # requests
    changes: float = 20.0  # requests that change something
    logins: float = 0.2  # wrong tokens

    def __post_init__(self) -> None:
        for name in ("upload", "dataset", "files", "file", "ratio", "pixels", "body"):
            if not getattr(self, name) >= 1:  # not a number is neither
                raise ConfigError(f"--max-{name} is at least 1; received {getattr(self, name)}.")
        if self.pixels > MAX_PIXELS:
            raise ConfigError(
                f"--max-pixels is at most {MAX_PIXELS}, which no decoder goes beyond; received {self.pixels}."
            )
        for name, option in (("rate", "--rate"), ("changes", "--changes"), ("logins", "--logins")):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{option} is 0 (any) or more a second; received {getattr(self, name)}.")


@dataclass(frozen=True)
class ServiceConfig:
    """``data``: where uploads, runs and detectors are kept. ``roots``: folders of the server that may be scanned.
    ``hosts``: further names under which the service is reached. ``database``: its address, by default a file in
    ``data``."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8765
    roots: tuple[Path, ...] = ()
    hosts: tuple[str, ...] = ()
    token: str | None = None
    database: str | None = None
    memory: int | None = None  # bytes that a scan may take
    threads: int | None = None
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", self.data.expanduser().resolve())
        object.__setattr__(self, "roots", tuple(root.expanduser().resolve() for root in self.roots))
        for root in self.roots:
            if not root.is_dir():
                raise ConfigError(f"--root {str(root)!r} is no folder. Give a folder whose photos may be scanned.")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"--port is 0 to 65535; received {self.port}.")
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise ConfigError(
                f"The token has {len(self.token)} characters; it needs at least {SHORTEST_TOKEN}. Make one: "
                "openssl rand -hex 32 > token"
            )
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"Beyond this machine the service is only reachable with a token; received --host {self.host} and "
                "none. Make one, openssl rand -hex 32 > token, and add --token-file token."
            )

    @property
    def readable(self) -> tuple[Path, ...]:
        """Folders that photos may be read from: uploads, and the roots as they are now."""
        return (self.data / "datasets", *self.roots)

    def require_readable(self, folder: Path) -> None:
        """Raises ``InputError`` if a data set's folder, links followed, does not lie in one of ``readable``: the
        service was started with other roots since it was made, or a link was changed."""
        place = folder.resolve()
        if not any(place.is_relative_to(known) for known in self.readable):
            allowed = ", ".join(map(str, self.roots)) or "none; start the service with --root FOLDER"
            raise InputError(f"{str(folder)!r} is not below the allowed folders ({allowed}), so it is not scanned.")

    @property
    def database_url(self) -> str:
        """As SQLAlchemy takes it."""
        url = self.database or f"sqlite:///{self.data / 'index.sqlite'}"
        for name in ("postgres://", "postgresql://"):
            if url.startswith(name):
                return f"postgresql+pg8000://{url.removeprefix(name)}"
        return url


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise ConfigError(f"--host {host!r} is not an address of this machine ({error}).") from error
    return bool(found) and all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)


def read_token(file: Path) -> str:
    """The first line of ``file``. Raises ``ConfigError``."""
    try:
        lines = file.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read the token from {str(file)!r}: {error}.") from error
    token = lines[0].strip() if lines else ""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"The token in {str(file)!r} must be plain letters and digits: openssl rand -hex 32")
    return token
