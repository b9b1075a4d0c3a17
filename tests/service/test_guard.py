"""Who is let in: hosts, origins, tokens, sizes and rates; and the headers that every answer has."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from clients import LOOPBACK, Client
from services import free_port, server, serving

from blemish import cli
from blemish.errors import ConfigError
from blemish.service.guard import Rate, session, valid_session
from blemish.service.settings import Limits, ServiceConfig

TOKEN = "0123456789abcdef0123456789abcdef"
OURS = "127.0.0.1:8765"
Serve = Callable[..., Client]


@pytest.fixture(scope="module")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(tmp_path_factory.mktemp("open") / "data", hosts=("inspection.example",)) as client:
        yield client


@pytest.fixture(scope="module")
def closed_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Beyond loopback, so with a token."""
    limits = Limits(rate=0, changes=0, logins=0.01)
    with serving(tmp_path_factory.mktemp("closed") / "data", host="0.0.0.0", token=TOKEN, limits=limits) as client:
        yield client


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (OURS, 200),
        ("localhost", 200),
        ("[::1]:8765", 200),
        ("192.0.2.7:8765", 200),  # an address cannot be rebound
        ("inspection.example", 200),  # --allow-host
        ("evil.example", 403),  # a name that was made to point here
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:8765", 403),
        ("", 403),
    ],
)
def test_only_known_names(open_service: Client, host: str, status: int) -> None:
    open_service.get("/api/health", status, headers={"host": host})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-blemish": "1"}, 201),  # a program
        ({"x-blemish": "1", "origin": LOOPBACK, "sec-fetch-site": "same-origin"}, 201),  # our page
        ({}, 403),  # a form of another site: it cannot send the header
        ({"x-blemish": "yes"}, 403),
        ({"x-blemish": "1", "origin": "http://evil.example"}, 403),
        ({"x-blemish": "1", "origin": "http://127.0.0.1:9999"}, 403),  # another port is another origin
        ({"x-blemish": "1", "origin": "null"}, 403),  # a sandboxed frame
        ({"x-blemish": "1", "sec-fetch-site": "cross-site"}, 403),
        ({"x-blemish": "1", "sec-fetch-site": "same-site"}, 403),
    ],
)
def test_changes_come_from_our_pages_or_programs(open_service: Client, headers: dict[str, str], status: int) -> None:
    answer = open_service.http.post("/api/datasets", json={"name": "x"}, headers=headers)
    assert answer.status_code == status, answer.text
    assert ("error" in answer.json()) == (status != 201)


def test_every_answer_has_its_headers(open_service: Client) -> None:
    for path in ("/api/health", "/api/nothing", "/login", "/api/datasets", "/api/openapi.json"):
        headers = open_service.http.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    assert open_service.get("/api/datasets").headers["cache-control"] == "no-store"
    refused = open_service.get("/api/health", 403, headers={"host": "evil.example"})
    assert "content-security-policy" in refused.headers


def test_a_token_is_needed_beyond_this_machine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only reachable with a token"):
        ServiceConfig(data=tmp_path, host="0.0.0.0")
    with pytest.raises(ConfigError, match="at least 16"):
        ServiceConfig(data=tmp_path, host="0.0.0.0", token="123")
    ServiceConfig(data=tmp_path, host="::1")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": f"bearer {TOKEN}"}, 200),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"authorization": "Bearer \xff\xfe"}, 401),
        ({"cookie": f"blemish_session={TOKEN}"}, 401),
        ({"cookie": "blemish_session=9999999999.00"}, 401),
        ({}, 401),
    ],
)
def test_the_token_opens(closed_service: Client, headers: dict[str, str], status: int) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = closed_service.http.get("/api/datasets", headers=raw)
    assert answer.status_code == status, answer.text
    assert TOKEN not in answer.text


def test_tokens_are_compared_in_constant_time(closed_service: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr("hmac.compare_digest", compare)
    closed_service.get("/api/datasets", 401, headers={"authorization": "Bearer wrong"})
    assert compared == [(b"wrong", TOKEN.encode())]


def test_a_token_is_in_no_log(tmp_path: Path) -> None:
    """Whatever is asked of a real server, and however wrongly."""
    (tmp_path / "token").write_text(TOKEN + "\n")
    log = tmp_path / "log"
    with server(tmp_path / "data", free_port(), "--token-file", str(tmp_path / "token"), log=log) as (_, ann):
        bearer = {"authorization": f"Bearer {TOKEN}"}
        ann.get("/api/datasets", headers=bearer)
        ann.get(f"/api/datasets?token={TOKEN}", 401)
        ann.send("POST", "/api/datasets", 422, headers=bearer, content=b"{")
        ann.http.post("/login", data={"token": TOKEN})
        ann.http.get(f"/{TOKEN}")
    assert b"http://127.0.0.1" in log.read_bytes()
    kept = [log, *(file for file in (tmp_path / "data").rglob("*") if file.is_file())]
    assert [file for file in kept if TOKEN.encode() in file.read_bytes()] == []


def test_a_token_in_an_address_opens_nothing(closed_service: Client) -> None:
    for query in ("token", "access_token", "authorization"):
        closed_service.get(f"/api/datasets?{query}={TOKEN}", 401)
    closed_service.get("/api/health")


def test_a_browser_signs_in(closed_service: Client) -> None:
    http = closed_service.http
    answer = http.post("/login", data={"token": TOKEN}, headers={"origin": LOOPBACK}, follow_redirects=False)
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    value = answer.headers["set-cookie"].partition("=")[2].partition(";")[0]
    http.cookies.clear()
    opened = http.get("/api/datasets", headers={"cookie": f"other=1; blemish_session={value}"})
    assert opened.status_code == 200
    foreign = http.post("/login", data={"token": TOKEN}, headers={"origin": "http://evil.example"})
    assert foreign.status_code == 403


@pytest.mark.parametrize(
    ("headers", "secure"),
    [
        ({"origin": "https://127.0.0.1:8765"}, True),  # a proxy speaks TLS to the browser
        ({"origin": LOOPBACK}, False),
        ({}, False),  # a program
    ],
)
def test_a_session_behind_tls_is_sent_nowhere_else(
    closed_service: Client, headers: dict[str, str], secure: bool
) -> None:
    answer = closed_service.http.post("/login", data={"token": TOKEN}, headers=headers, follow_redirects=False)
    assert answer.status_code == 303
    assert ("; secure" in answer.headers["set-cookie"].lower()) == secure
    closed_service.http.cookies.clear()


def test_tokens_are_not_guessed(closed_service: Client) -> None:
    answers = [closed_service.http.post("/login", data={"token": f"{at}"}).status_code for at in range(4)]
    assert answers == [401, 401, 429, 429]
    assert closed_service.http.post("/login", data={"token": TOKEN}, follow_redirects=False).status_code == 429


def test_a_session_ends_and_belongs_to_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = session(TOKEN)
    assert valid_session(TOKEN, cookie)
    assert not valid_session(TOKEN + "x", cookie)
    until, _, signature = cookie.partition(".")
    assert not valid_session(TOKEN, f"{int(until) + 1}.{signature}")
    assert not valid_session(TOKEN, f"²{until}.{signature}")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 31 * 24 * 3600)
    assert not valid_session(TOKEN, cookie)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"file": 0}, "--max-file is at least 1"),
        ({"ratio": math.nan}, "--max-ratio"),
        ({"pixels": 10**10}, "--max-pixels is at most"),
        ({"rate": -1.0}, "--rate is 0"),
        ({"logins": math.inf}, "--logins"),
    ],
)
def test_limits_that_are_none(limits: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Limits(**limits)


def test_options_become_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those that are not given are the defaults, and the address of the database may come from the environment."""
    known: list[ServiceConfig] = []
    monkeypatch.setattr("blemish.service.serving.serve", known.append)
    monkeypatch.setenv("BLEMISH_DATABASE", "postgresql://ann:secret@db/parts")
    options = ["--max-file", "3KiB", "--max-pixels", "5", "--max-ratio", "7", "--max-body", "2KiB", "--logins", "9"]
    for chosen in ([], options):
        monkeypatch.setattr(sys, "argv", ["blemish", "serve", "--data", str(tmp_path), *chosen])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code
    assert known[0].limits == Limits()
    assert known[1].limits == Limits(file=3072, pixels=5, ratio=7.0, body=2048, logins=9.0)
    assert known[1].database == "postgresql://ann:secret@db/parts"


def test_a_request_may_be_so_large(serve: Serve) -> None:
    ann = serve(limits=Limits(rate=0, changes=0, body=1000, upload=5000, file=3000))
    stated = ann.send("POST", "/api/datasets", 413, json={"name": "x" * 2000})
    assert "1,000 bytes" in stated["error"]

    def unstated() -> Iterator[bytes]:
        yield b'{"name": "'
        for _ in range(100):
            yield b"x" * 100
        yield b'"}'

    assert "1,000 bytes" in ann.send("POST", "/api/datasets", 413, content=unstated())["error"]
    dataset = ann.dataset()
    assert "5,000 bytes" in ann.upload(dataset, {"a.png": b"x" * 6000}, 413)["error"]
    assert ann.get(f"/api/datasets/{dataset}").json()["photos"] == 0


def test_a_client_may_ask_so_often(serve: Serve) -> None:
    ann = serve(limits=Limits(rate=2, changes=0.5))
    made = [ann.http.post("/api/datasets", json={"name": "x"}, headers=ann.headers).status_code for _ in range(8)]
    assert made[:5] == [201] * 5
    assert 429 in made[5:]
    asked = [ann.http.get("/api/health").status_code for _ in range(20)]
    assert 429 in asked
    assert "slowly" in httpx.Response.json(ann.http.get("/api/health"))["error"]


def test_rates_are_of_each_client_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    rate = Rate(1.0)
    assert [rate.allows("a") for _ in range(11)] == [True] * 10 + [False]
    assert rate.allows("b")
    now[0] += 1.5
    assert [rate.allows("a"), rate.allows("a")] == [True, False]
