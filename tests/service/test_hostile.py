"""What strangers send: each refused with a reason, nothing written elsewhere, nothing shown as it came."""

from __future__ import annotations

import io
import json
import os
import pickle
import stat
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest
from clients import Client, png
from services import serving

from blemish.service.names import attachment, safe_path
from blemish.service.settings import Limits
from blemish.service.uploads import Intake
from judged_runs import stained, write_stained

Serve = Callable[..., Client]
PHOTO = png(stained(1))
LIMITS = Limits(rate=0, changes=0, files=40, file=200_000, dataset=400_000, pixels=1_000_000)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Path]]:
    data = tmp_path_factory.mktemp("hostile") / "data"
    with serving(data, limits=LIMITS, roots=(tmp_path_factory.mktemp("root"),)) as client:
        yield client, data


@pytest.fixture
def intake(tmp_path: Path) -> Intake:
    (tmp_path / "files").mkdir()
    return Intake(tmp_path / "files", LIMITS, 0, 0)


def archive(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        for name, data in entries.items():
            made.writestr(zipfile.ZipInfo(name) if name else zipfile.ZipInfo("x"), data, method)
    return buffer.getvalue()


def everything_below(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


OUTSIDE = [
    "../a.png",
    "a/../../b.png",
    "/etc/a.png",
    "..\\a.png",
    "C:\\a.png",
    "c:a.png",
    "a//b.png",
    "./a.png",
    "a/.hidden/b.png",
    ".arriving-x.png",
    "a\x00.png",
    "a\r\nSet-Cookie: x=1.png",
    "a\u202egnp.exe.png",
    "con.png",
    "lpt1/a.png",
    "a:stream.png",
    "a .png/b.png ",
    "x" * 300 + ".png",
    "/".join("abcdefghijklmnopqrstu") + ".png",
    "",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_elsewhere(name: str, intake: Intake, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        safe_path(name)
    intake.add(name, io.BytesIO(PHOTO))
    intake.add("lot.zip", io.BytesIO(archive({name: PHOTO})))  # zip-slip
    assert intake.accepted == 0
    assert everything_below(tmp_path) == set()
    assert len(intake.refused) == 2
    assert all(reason and path.isprintable() for path, reason in intake.refused)


def test_names_that_are_fine(intake: Intake) -> None:
    for name in ("a.png", "sub/b.PNG", "Größe 3/ü (2).png", "a\\b.png", "日本/写真.png"):
        intake.add(name, io.BytesIO(PHOTO))
    assert intake.refused == []
    assert everything_below(intake.folder) == {
        "a.png",
        "sub/b.PNG",
        "Größe 3/ü (2).png",
        "a/b.png",
        "日本/写真.png",
    }


def test_traversal_through_rest(service: tuple[Client, Path]) -> None:
    client, data = service
    dataset = client.dataset()
    sent = client.upload(dataset, {"../../../evil.png": PHOTO, "..%2fevil.png": PHOTO, "good.png": PHOTO})
    assert (sent["accepted"], len(sent["refused"])) == (1, 2)
    assert not list(data.parent.glob("evil.png"))
    for path in ("../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "..%5c..%5cetc"):
        assert client.http.get(f"/{path}").status_code == 404
        assert client.http.get(f"/api/runs/{path}").status_code in (404, 422)
    assert client.http.get("/api/datasets/..%2f..%2fx").status_code in (404, 422)


@pytest.mark.parametrize("given", ["/etc", "/", "..", "{root}/../..", "{root}/link", "nowhere", "/etc\x00", "~"])
def test_only_allowed_folders_are_scanned(service: tuple[Client, Path], given: str) -> None:
    client, _ = service
    (root,) = client.get("/api/limits").json()["roots"]
    link = Path(root) / "link"
    if not link.is_symlink():
        link.symlink_to("/etc")
    path = given.replace("{root}", root)
    assert "is no folder below" in client.send("POST", "/api/datasets/folder", 400, json={"path": path})["error"]
    assert "is no folder below" in client.get("/api/folders", 400, params={"path": path}).json()["error"]


DISGUISED = {
    "svg.png": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "html.jpg": b"<!doctype html><script>alert(1)</script>",
    "gif.png": b"GIF89a\x01\x00\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;",
    "postscript.tif": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage",
    "pickle.png": pickle.dumps(os.getcwd),
    "empty.png": b"",
    "cut.png": PHOTO[:40],
    "text.nii": b"hello",
    "text.nii.gz": b"hello",
    "text.dcm": b"hello",
}


@pytest.mark.parametrize("name", DISGUISED)
def test_what_is_no_photo_is_refused_whatever_it_is_called(name: str, intake: Intake) -> None:
    intake.add(name, io.BytesIO(DISGUISED[name]))
    ((path, reason),) = intake.refused
    assert path == name
    assert reason
    assert everything_below(intake.folder) == set()


@pytest.mark.parametrize("name", ["a.svg", "a.html", "a.png.exe", "a.pkl", "a.npy", "a.csv", "png", "a.zip.png.js"])
def test_other_files_are_refused_by_their_names(name: str, intake: Intake) -> None:
    intake.add(name, io.BytesIO(PHOTO))
    assert intake.refused == [(name, "neither a photo nor a volume by its name")]


def png_of(width: int, height: int) -> bytes:
    """A small file that says it is large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(64), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(2000, 2000), (100_000, 100_000), (2**31 - 1, 1)])
def test_image_bombs(width: int, height: int, intake: Intake) -> None:
    intake.add("bomb.png", io.BytesIO(png_of(width, height)))
    ((_, reason),) = intake.refused
    assert "too many pixels" in reason
    assert everything_below(intake.folder) == set()


def test_an_archive_is_unpacked(intake: Intake) -> None:
    entries = {f"lot/{at}.png": PHOTO for at in range(3)}
    litter = {"__MACOSX/lot/0.png": b"x", "lot/.DS_Store": b"x", "lot/notes.txt": b"x"}
    intake.add("lot.zip", io.BytesIO(archive(entries | litter)))
    assert intake.accepted == 3
    assert everything_below(intake.folder) == set(entries)
    assert intake.refused == [("lot/notes.txt", "neither a photo nor a volume by its name")]


def test_an_archive_that_is_a_bomb(intake: Intake) -> None:
    flat = png(np.zeros((8, 8, 3), np.uint8)) + bytes(190_000)  # a photo, and nothing for a long time
    intake.add("bomb.zip", io.BytesIO(archive({"a.png": flat})))
    ((_, reason),) = intake.refused
    assert "as bombs do" in reason


def test_an_archive_that_lies_about_its_sizes(intake: Intake) -> None:
    data = bytearray(archive({"a.png": PHOTO + bytes(150_000)}, zipfile.ZIP_STORED))
    real, stated = struct.pack("<I", len(PHOTO) + 150_000), struct.pack("<I", len(PHOTO))
    central = data.index(b"PK\x01\x02")
    data[central:] = bytes(data[central:]).replace(real, stated)
    intake.add("liar.zip", io.BytesIO(bytes(data)))
    assert intake.size <= len(PHOTO), "never more than it said"
    assert sum(file.stat().st_size for file in intake.folder.rglob("*") if file.is_file()) <= len(PHOTO)


def test_archives_of_too_much(intake: Intake) -> None:
    intake.add("many.zip", io.BytesIO(archive({f"{at}.png": PHOTO for at in range(41)})))
    intake.add("large.zip", io.BytesIO(archive({f"{at}.png": os.urandom(150_000) for at in range(3)})))
    reasons = [reason for _, reason in intake.refused]
    assert "41 files" in reasons[0]
    assert "unpacks to 450,000 bytes" in reasons[1]
    assert everything_below(intake.folder) == set()


def test_an_archive_with_an_endless_list(intake: Intake) -> None:
    """Names by the hundred thousand, which would fill the memory before they are counted."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0) + b"a.png"
    directory = entry * 400_000
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 65535, 65535, len(directory), 0, 0)
    intake.add("endless.zip", io.BytesIO(directory + end))
    assert intake.refused == [("endless.zip", "not unpacked: its list of contents is too long")]


def test_links_locks_and_archives_in_archives(intake: Intake) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr(link, "/etc/passwd")
        made.writestr("inner.zip", archive({"a.png": PHOTO}))
    locked = bytearray(archive({"locked.png": PHOTO}))
    for at, offset in ((locked.index(b"PK\x03\x04"), 6), (locked.index(b"PK\x01\x02"), 8)):
        locked[at + offset] |= 1
    intake.add("odd.zip", buffer)
    intake.add("locked.zip", io.BytesIO(bytes(locked)))
    intake.add("no.zip", io.BytesIO(b"PK\x05\x06" + bytes(3)))
    reasons = [reason for _, reason in intake.refused]
    assert ["link" in reasons[0], "photo nor" in reasons[1], "encrypted" in reasons[2]] == [True] * 3
    assert "not unpacked" in reasons[3]
    assert everything_below(intake.folder) == set()


def damaged(method: int, at: int, flip: bytes) -> bytes:
    """An archive of one photo whose packed bytes are wrong from ``at`` on."""
    data = bytearray(archive({"bad/a.png": PHOTO}, method))
    start = 30 + len("bad/a.png") + at
    data[start : start + len(flip)] = flip
    return bytes(data)


def beyond() -> bytes:
    """An archive that says its entry begins where no file reaches."""
    data = archive({"bad/a.png": PHOTO}, zipfile.ZIP_STORED)
    central, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    extra = struct.pack("<HHQ", 1, 8, 2**64 - 101)
    entry, closing = bytearray(data[central:end]), bytearray(data[end:])
    entry[42:46], entry[30:32] = b"\xff" * 4, struct.pack("<H", len(extra))
    closing[12:16] = struct.pack("<I", len(entry) + len(extra))
    return data[:central] + bytes(entry) + extra + bytes(closing)


BROKEN = {
    "deflate": lambda: damaged(zipfile.ZIP_DEFLATED, 0, b"\xff" * 8),  # zlib.error
    "deflate later": lambda: damaged(zipfile.ZIP_DEFLATED, 300, b"\x00" * 200),
    "bzip2": lambda: damaged(zipfile.ZIP_BZIP2, 0, b"\xff" * 8),  # OSError
    "lzma": lambda: damaged(zipfile.ZIP_LZMA, 4, b"\xff"),  # LZMAError: properties that there are not
    "lzma later": lambda: damaged(zipfile.ZIP_LZMA, 20, b"\xff" * 8),
    "lzma, endless memory": lambda: damaged(zipfile.ZIP_LZMA, 5, b"\xff" * 4),  # a dictionary of 4 GiB
    "stored": lambda: damaged(zipfile.ZIP_STORED, len(PHOTO) // 2, b"\xff" * 8),  # a wrong checksum
    "zip64": beyond,  # OverflowError
    "method": lambda: archive({"bad/a.png": PHOTO}).replace(b"\x08\x00", b"\x63\x00"),  # none that is known
    "cut": lambda: archive({"bad/a.png": PHOTO})[:-30],
}


@pytest.mark.parametrize("what", BROKEN)
def test_damaged_archives(what: str, intake: Intake) -> None:
    intake.add("before.png", io.BytesIO(PHOTO))
    intake.add("lot.zip", io.BytesIO(BROKEN[what]()))
    intake.add("after.png", io.BytesIO(png(stained(2))))
    if what != "lzma, endless memory":  # some systems lend it, and then the entry is whole
        ((_, reason),) = intake.refused
        assert "unpacked: " in reason
        assert not (intake.folder / "bad").exists(), "what is refused leaves no folder"
        assert everything_below(intake.folder) == {"before.png", "after.png"}
    assert intake.accepted == intake.files == len(everything_below(intake.folder))


def test_what_came_with_a_damaged_archive_is_counted(service: tuple[Client, Path]) -> None:
    client, _ = service
    dataset = client.dataset()
    sent = client.upload(dataset, {"a.png": PHOTO, "lot.zip": BROKEN["deflate"](), "refused/b/c.png": b"no photo"})
    assert (sent["accepted"], len(sent["refused"])) == (1, 2)
    found = client.get(f"/api/datasets/{dataset}").json()
    assert (found["photos"], found["bytes"]) == (1, len(PHOTO))


def test_a_data_set_holds_so_much(intake: Intake) -> None:
    for at in range(42):
        intake.add(f"{at}.png", io.BytesIO(PHOTO))
    assert (intake.accepted, intake.files) == (min(40, LIMITS.dataset // len(PHOTO)), intake.accepted)
    intake.add("large.png", io.BytesIO(PHOTO + bytes(250_000)))
    assert len(intake.refused) == 42 - intake.accepted + 1


def test_uploads_at_once_share_what_a_data_set_holds(serve: Serve) -> None:
    ann = serve(limits=Limits(rate=0, changes=0, files=6))
    dataset = ann.dataset()
    lots = [{f"{lot}-{at}.png": png(stained(10 * lot + at)) for at in range(4)} for lot in range(4)]
    with ThreadPoolExecutor(4) as people:
        sent = list(people.map(lambda lot: ann.upload(dataset, lot), lots))
    assert sum(one["accepted"] for one in sent) == 6
    assert ann.get(f"/api/datasets/{dataset}").json()["photos"] == 6


def test_a_data_set_that_is_removed_while_files_arrive(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays removed, its files too."""
    ann = serve(data=tmp_path / "data")
    arriving, let_go = threading.Event(), threading.Event()
    add = Intake.add

    def slowly(self: Intake, name: str, source: io.BytesIO) -> None:
        arriving.set()
        let_go.wait(20)
        add(self, name, source)

    monkeypatch.setattr(Intake, "add", slowly)
    dataset = ann.dataset()
    folder = tmp_path / "data" / "datasets" / dataset
    assert folder.is_dir()
    with ThreadPoolExecutor(2) as people:
        sent = people.submit(ann.upload, dataset, {"a.png": PHOTO})
        assert arriving.wait(20)
        removed = people.submit(ann.send, "DELETE", f"/api/datasets/{dataset}", 204)
        wait([removed], 0.3)  # it waits for the upload, or it is done before it
        let_go.set()
        assert sent.result(20)["accepted"] == 1
        removed.result(20)
    assert ann.get("/api/datasets").json() == []
    assert not folder.exists()
    ann.upload(dataset, {"a.png": PHOTO}, 404)


def test_the_same_file_again_and_another_of_its_name(intake: Intake) -> None:
    for data in (PHOTO, PHOTO, png(stained(2))):
        intake.add("a.png", io.BytesIO(data))
    assert (intake.accepted, intake.files) == (2, 1)
    assert intake.refused == [("a.png", "another file of this name is there already")]
    assert (intake.folder / "a.png").read_bytes() == PHOTO


def test_a_file_where_a_folder_should_be(intake: Intake) -> None:
    for name in ("a.png", "a.png/b.png", "sub.png/c.png", "sub.png"):
        intake.add(name, io.BytesIO(PHOTO))
    assert everything_below(intake.folder) == {"a.png", "sub.png/c.png"}
    assert [name for name, _ in intake.refused] == ["a.png/b.png", "sub.png"]


@pytest.mark.parametrize("name", ['a"; filename="b.exe', "a\r\nX-Evil: 1", "ü\u202e.png", "", "a;b", "x" * 500])
def test_a_file_name_stays_one_header(name: str) -> None:
    header = attachment(name)
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    assert header.startswith("attachment; filename=")


def test_odd_names_of_a_folder_on_the_server(serve: Serve, tmp_path: Path) -> None:
    """Files that nobody uploaded can be called anything: they are shown and taken away, and break nothing."""
    folder = write_stained(tmp_path / "root" / "lot", (0.0,) * 3)
    odd = ['quote".png', "line\nbreak.png", "<img src=x onerror=alert(1)>.png", "semi;colon.png", "perc%2e%2ent.png"]
    for at, name in enumerate(odd):
        (folder / name).write_bytes(png(stained(10 + at, 1.0)))
    (folder / "secret.png").symlink_to("/etc/passwd")
    outside = tmp_path / "outside.png"
    outside.write_bytes(png(stained(30)))
    (folder / "outside.png").symlink_to(outside)
    ann = serve(roots=(tmp_path / "root",))
    run = ann.start(ann.send("POST", "/api/datasets/folder", 201, json={"path": str(folder)})["id"])
    ann.wait(run)
    for row in ann.rows(run):
        photo = f"/api/runs/{run}/photos/{row['pid']}"
        ann.get(photo)
        if row["path"] in ("outside.png", "secret.png"):
            assert (row["status"], row["score"]) == ("unreadable", None)
            assert "leads out of the folders" in row["reason"]
            ann.get(f"{photo}/picture", 404)
        else:
            shown = ann.get(f"{photo}/picture")
            assert shown.headers["content-type"] == "image/jpeg"
            assert shown.content[:2] == b"\xff\xd8"
            header = ann.get(f"{photo}/map").headers["content-disposition"]
            assert header.isprintable()
            assert header.count('"') == 2
    assert not list((tmp_path / "data-0" / "runs" / run).rglob("*outside*")), "no overlay, no map"
    report = ann.get(f"/api/runs/{run}/exports/report")
    assert report.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in report.headers["content-security-policy"]


def test_a_photo_that_becomes_a_link_is_not_shown(serve: Serve, tmp_path: Path) -> None:
    """Neither what is there now nor what was kept of it."""
    folder = write_stained(tmp_path / "root" / "lot", (0.0,) * 3)
    outside = tmp_path / "outside.png"
    outside.write_bytes(png(stained(30)))
    ann = serve(roots=(tmp_path / "root",))
    run = ann.start(ann.send("POST", "/api/datasets/folder", 201, json={"path": str(folder)})["id"])
    ann.wait(run)
    row = ann.rows(run)[0]
    picture = f"/api/runs/{run}/photos/{row['pid']}/picture"
    ann.get(f"{picture}?longest=384")
    file = folder / row["path"]
    file.unlink()
    file.symlink_to(outside)
    for longest in (384, 1600):
        assert "lies outside" in ann.get(f"{picture}?longest={longest}", 404).json()["error"]


def test_folders_that_are_not_allowed_any_more(serve: Serve, tmp_path: Path) -> None:
    """Neither newly nor from the queue, after a start with other roots."""
    folder = write_stained(tmp_path / "root" / "lot", (0.0,) * 3)
    with serving(tmp_path / "data", roots=(tmp_path / "root",)) as ann:
        dataset = ann.send("POST", "/api/datasets/folder", 201, json={"path": str(folder)})["id"]
        run = ann.start(dataset)
        ann.wait(run)
        ann.http.app.state.service.store.change("runs", run, state="queued")
    with serving(tmp_path / "data") as ann:
        body = {"dataset": dataset, "settings": {"backbone": "mock"}}
        assert "not below the allowed" in ann.send("POST", "/api/runs", 400, json=body)["error"]
        for _ in range(200):
            found = ann.get(f"/api/runs/{run}").json()
            if found["state"] == "failed":
                break
            time.sleep(0.05)
        assert "not below the allowed" in found["error"]
        ann.send("POST", f"/api/runs/{run}/resume")


@pytest.mark.parametrize("odd", ["\\ud800", "\\u0000", "\\u001b[2J", "   ", "x" * 121])
def test_words_that_no_database_takes(on_either: Client, odd: str) -> None:
    client = on_either
    for path, body in (
        ("/api/datasets", f'{{"name": "{odd}"}}'),
        ("/api/datasets/folder", f'{{"path": "/{odd}"}}'),
        ("/api/runs", f'{{"dataset": "{odd}"}}'),
    ):
        answer = client.http.post(path, content=body, headers={**client.headers, "content-type": "application/json"})
        assert answer.status_code in (400, 404, 422), answer.text
        assert answer.json()["error"]


@pytest.mark.parametrize("odd", ["%00", "%ED%A0%80", "%1b%5b2J", "x" * 121])
def test_addresses_that_no_database_takes(on_either: Client, odd: str) -> None:
    for path in (f"/api/runs?dataset={odd}", f"/api/audit?run={odd}", f"/api/runs/{odd}", f"/api/datasets/{odd}"):
        assert on_either.http.get(path).status_code in (404, 405, 422), path
    on_either.send("POST", "/api/datasets", 201, json={"name": "x"}, headers={"X-Blemish-Who": odd})


def test_bodies_that_no_parser_takes(service: tuple[Client, Path]) -> None:
    client, _ = service
    for body in (b"[" * 200_000, b"{", b"\xff\xfe", b'{"name": NaN}', b"1" * 5000, b""):
        headers = {**client.headers, "content-type": "application/json"}
        answer = client.http.post("/api/datasets", content=body, headers=headers)
        assert answer.status_code in (400, 422), answer.text[:200]
        assert answer.json()["error"]


def test_who_is_words_only(serve: Serve) -> None:
    ann = serve()
    for given, kept in (
        ("Ann <b>", "Ann <b>"),
        ("  ", "somebody"),
        ("x" * 300, "x" * 100),
        ("%E6%97%A5" * 100, "日" * 100),
    ):
        ann.send("POST", "/api/datasets", 201, json={"name": "x"}, headers={"X-Blemish-Who": given})
        assert ann.get("/api/audit").json()[0]["who"] == kept


DAMAGED_FACTS = [
    {"holds": None},  # not there
    {"photos": "many"},
    {"photos": 2**40},
    {"name": "a\0b"},
    {"created": "x" * 50},  # longer than its column
    {"kind": ["upload"]},
]


@pytest.mark.parametrize("damage", DAMAGED_FACTS)
def test_damaged_facts_are_passed_over(database: str, damage: dict[str, object], tmp_path: Path) -> None:
    """A lost database is made again of what is whole."""
    for name, facts in (("a" * 10, damage), ("b" * 10, {})):
        file = tmp_path / "data" / "datasets" / name / "dataset.json"
        file.parent.mkdir(parents=True)
        whole = {
            "id": name,
            "name": "parts",
            "kind": "upload",
            "path": "/p",
            "holds": "photos",
            "photos": 3,
            "bytes": 9,
            "created": "2026-01-01",
        }
        kept = {key: value for key, value in {**whole, **facts}.items() if value is not None}
        file.write_text(json.dumps(kept), encoding="utf-8")
    with serving(tmp_path / "data", database=database) as ann:
        assert [one["id"] for one in ann.get("/api/datasets").json()] == ["b" * 10]


def test_nothing_is_unpickled() -> None:
    """No room of the service loads pickle, and arrays are read without it."""
    import blemish.service

    for file in Path(blemish.service.__file__ or "").parent.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "pickle" not in text, file
        assert "eval(" not in text, file
