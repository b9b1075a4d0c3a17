"""Who may ask for what: every request passes here before anything reads it, and every answer after.

Host names (against DNS rebinding), token or session, the origin and a header of changing requests (against cross-site
requests), sizes counted as they arrive, rates, and the headers of answers. It knows requests, not what they are for.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import time
from collections import OrderedDict
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blemish.service.settings import ServiceConfig

__all__ = ["COOKIE", "Guard", "Rate", "session", "valid_session"]

COOKIE = "blemish_session"
SESSION_S = 30 * 24 * 3600.0
CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
CLIENTS = 4096  # whose rates are remembered
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "worker-src 'self' blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # none at all would make browsers hide the origin of our own forms
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
BROKEN = "The service has failed at this, by a mistake in it. Its log says where; what was asked may be half done."


class Rate:
    """So many events a second and client, with ten seconds' worth at once."""

    def __init__(self, a_second: float) -> None:
        self._rate = a_second
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, client: str, cost: float = 1.0) -> bool:
        """Whether one more is within the rate; then it is counted. ``cost`` 0 only looks."""
        if self._rate <= 0:
            return True
        most, now = max(10 * self._rate, 2.0), time.monotonic()
        left, since = self._left.pop(client, (most, now))
        left = min(most, left + (now - since) * self._rate)
        allowed = left >= 1.0
        self._left[client] = (left - cost if allowed else left, now)
        if len(self._left) > CLIENTS:
            self._left.popitem(last=False)
        return allowed


def session(token: str) -> str:
    """A cookie that only whoever knows the token can make: when it ends, and a signature."""
    until = str(int(time.time() + SESSION_S))
    return f"{until}.{_signed(token, until)}"


def valid_session(token: str, cookie: str) -> bool:
    until, _, signature = cookie.partition(".")
    known = hmac.compare_digest(signature.encode(), _signed(token, until).encode())
    return known and until.isascii() and until.isdecimal() and int(until) > time.time()


def _signed(token: str, until: str) -> str:
    return hmac.new(token.encode(), f"blemish session {until}".encode(), hashlib.sha256).hexdigest()


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, config: ServiceConfig) -> None:
        self._app = app
        self._config = config
        limits = config.limits
        self._requests, self._changes = Rate(limits.rate), Rate(limits.changes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no websockets
            return
        headers = Headers(scope=scope)
        refused = self._refused(scope, headers)
        if refused:
            await _answer(_with_headers(send, scope), *refused)
            return
        answered = False

        async def answering(message: Message) -> None:
            nonlocal answered
            answered = True
            await _with_headers(send, scope)(message)

        try:
            await self._app(scope, _counted(receive, self._most(scope["path"])), answering)
        except Exception:
            if not answered:
                await _answer(answering, 500, BROKEN)
            raise  # for the log

    def _refused(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Status and sentence for a request that goes no further."""
        client = scope["client"][0] if scope.get("client") else ""
        changing = scope["method"] in CHANGING
        if not self._known_host(headers.getlist("host")):
            return 403, (
                f"This service is not called {_short(headers.get('host', ''))}. Open it by the address it was started "
                "with, or add --allow-host NAME."
            )
        if not self._requests.allows(client) or (changing and not self._changes.allows(client)):
            return 429, "Too many requests from this address. Wait a moment and go on more slowly."
        if changing and (why := _foreign(headers, scope["path"])):
            return 403, why
        if self._config.token and self._closed(scope["path"]) and not self._authorised(headers):
            return 401, (
                "This service needs its token. Programs send it as Authorization: Bearer TOKEN; in a browser open "
                "/login."
            )
        length, most = headers.get("content-length", ""), self._most(scope["path"])
        if length.isdecimal() and len(length) < 20 and int(length) > most:
            return 413, _too_large(most)
        return None

    def _known_host(self, hosts: list[str]) -> bool:
        """An address cannot be rebound, so any is fine; names must be known."""
        if len(hosts) != 1:
            return False
        name = _host_of(hosts[0])
        if name in {"localhost", self._config.host.lower(), *(host.lower() for host in self._config.hosts)}:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _closed(self, path: str) -> bool:
        return path.startswith("/api/") and path != "/api/health"

    def _authorised(self, headers: Headers) -> bool:
        token = self._config.token or ""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return hmac.compare_digest(given.strip().encode(), token.encode())
        cookies = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
        return any(name == COOKIE and valid_session(token, value) for name, _, value in cookies)

    def _most(self, path: str) -> int:
        limits = self._config.limits
        if path.startswith("/api/datasets/") and path.endswith("/files"):
            return limits.upload
        return limits.file if path.endswith("/check") else limits.body


def _host_of(header: str) -> str:
    """Without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0].lower() if ":" in header else header.lower()


def _foreign(headers: Headers, path: str) -> str:
    """Why a changing request does not come from our own pages or a program that means it; empty if it does."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return f"A page of {_short(origin)} may not change anything here. Open this service's own page."
    if site not in (None, "same-origin", "none"):
        return "A page from elsewhere may not change anything here. Open this service's own page."
    if path != "/login" and headers.get("x-blemish") != "1":
        return "Requests that change something carry the header X-Blemish: 1, which other sites cannot send. Add it."
    return ""


def _counted(receive: Receive, most: int) -> Receive:
    """A body that may be no longer than ``most``, whatever its header says."""
    seen = 0

    async def receiving() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > most:
                raise HTTPException(413, _too_large(most))
        return message

    return receiving


def _with_headers(send: Send, scope: Scope) -> Send:
    api = scope["path"].startswith("/api/")

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                if name not in headers:
                    headers[name] = value
            if "cache-control" not in headers:  # pages are asked for again, or parts of two versions would meet
                headers["cache-control"] = "no-store" if api else "no-cache"
        await send(message)

    return sending


async def _answer(send: Send, status: int, words: str) -> None:
    body = json.dumps({"error": words}).encode()
    headers: Iterable[tuple[bytes, bytes]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _too_large(most: int) -> str:
    return f"The request is larger than {most:,} bytes, which is as much as one may send at once. Send it in parts."


def _short(text: str) -> str:
    """Quoted, without what a log or a terminal would obey."""
    return repr("".join(c if c.isprintable() else "?" for c in text[:80]))
