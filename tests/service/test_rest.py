"""From a folder of photos to a detector through REST, on both databases: what a program sees."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from clients import LOOPBACK, Client
from PIL import Image
from services import emptied, serving
from sqlalchemy.exc import DataError, OperationalError
from starlette.testclient import TestClient

from blemish.config import ScanConfig
from blemish.errors import ConfigError
from blemish.features.registry import list_backbones
from blemish.inputs.synthetic import render_batch, write_batch
from blemish.service import asking
from blemish.service.routes import exports
from judged_runs import BOX, GRADED, call, stained, write_stained

Serve = Callable[..., Client]


@dataclass(frozen=True)
class Lot:
    ann: Client
    run: str
    rows: list[dict[str, Any]]

    @property
    def worst(self) -> dict[str, Any]:
        return next(row for row in self.rows if row["path"] == "a/23.png")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty sound ones and four that are stained, in two folders."""
    folder = tmp_path_factory.mktemp("made")
    write_stained(folder / "lot" / "a", GRADED)
    write_stained(folder / "lot" / "b", GRADED[:3])
    for at in range(3):
        Image.fromarray(stained(100 + at)).save(folder / "lot" / "b" / f"{at}.png")
    return folder / "lot"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lot(request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lot]:
    """A scanned lot, on each database. Tests leave it as they found it."""
    database = None if request.param == "sqlite" else emptied(request.getfixturevalue("postgres"))
    with serving(tmp_path_factory.mktemp("lot") / "data", database=database) as ann:
        run = ann.scanned(photos, name="Lot 7 / plates")
        yield Lot(ann, run, ann.rows(run))


def test_the_grid_and_the_table_say_the_same(lot: Lot) -> None:
    ann, run, rows = lot.ann, lot.run, lot.rows
    assert [row["rank"] for row in rows] == list(range(1, 28))
    assert [row["path"] for row in sorted(rows, key=lambda row: row["pid"])] == sorted(row["path"] for row in rows)
    counts = ann.get(f"/api/runs/{run}/result").json()["counts"]
    assert counts == {
        **{call_: sum(row["verdict"] == call_ for row in rows) for call_ in ("ok", "blemished", "unsure")},
        "unreadable": 0,
    }
    table = list(csv.DictReader(io.StringIO(ann.get(f"/api/runs/{run}/exports/csv").text)))
    assert [(row["path"], float(row["score"]), row["verdict"]) for row in table] == [
        (row["path"], row["score"], row["verdict"]) for row in rows
    ]
    for row in rows:
        found = ann.get(f"/api/runs/{run}/photos/{row['pid']}").json()
        assert {name: found[name] for name in row} == row
        assert len(found["found"]) == row["regions"]


def test_pages_of_the_grid(lot: Lot) -> None:
    ann, run, rows = lot.ann, lot.run, lot.rows
    assert ann.rows(run, offset=5, limit=3) == rows[5:8]
    assert ann.rows(run, offset=1000) == []
    assert ann.rows(run, q="B/") == [row for row in rows if row["path"].startswith("b/")]
    assert ann.rows(run, verdict="blemished") == [row for row in rows if row["verdict"] == "blemished"]
    assert ann.rows(run, verdict="unreadable") == ann.rows(run, family=1) == []
    ann.get(f"/api/runs/{run}/photos", 422, params={"limit": 0})
    ann.get(f"/api/runs/{run}/photos/27", 404)


def test_pictures_of_a_photo(lot: Lot) -> None:
    ann, run, pid = lot.ann, lot.run, lot.worst["pid"]
    small = Image.open(io.BytesIO(ann.get(f"/api/runs/{run}/photos/{pid}/picture?longest=384").content))
    assert small.size == (64, 64)
    heat = Image.open(io.BytesIO(ann.get(f"/api/runs/{run}/photos/{pid}/heat").content))
    assert (heat.mode, heat.size) == ("RGBA", (15, 15))
    assert ann.get(f"/api/runs/{run}/photos/{pid}/map").content[:4] == b"II*\x00"
    mask = Image.open(io.BytesIO(ann.get(f"/api/runs/{run}/photos/{pid}/mask").content))
    assert mask.size == (64, 64)
    ok = next(row for row in lot.rows if row["verdict"] == "ok")
    ann.get(f"/api/runs/{run}/photos/{ok['pid']}/mask", 404)
    ann.get(f"/api/runs/{run}/photos/{pid}/volume.nii.gz", 404)
    ann.get(f"/api/runs/{run}/photos/{pid}/picture?longest=385", 422)


def test_what_a_photo_was_compared_with(lot: Lot) -> None:
    found = lot.ann.get(f"/api/runs/{lot.run}/photos/{lot.worst['pid']}").json()
    assert found["nearest_missing"] == ""
    assert len(found["nearest"]) == 18
    left, top, right, bottom = BOX
    first = found["nearest"][0]["box"]
    assert left / 64 - 0.13 <= first["left"] <= right / 64, "the hottest place is the stain"
    assert top / 64 - 0.13 <= first["top"] <= bottom / 64
    others = {one["path"] for one in found["nearest"]}
    assert found["path"] not in others
    assert others <= {row["path"] for row in lot.rows}
    by_place = [found["nearest"][at : at + 6] for at in range(0, 18, 6)]
    for place in by_place:
        distances = [one["distance"] for one in place]
        assert distances == sorted(distances)


def test_another_threshold(lot: Lot) -> None:
    ann, run = lot.ann, lot.run
    verdict = ann.get(f"/api/runs/{run}/verdict").json()
    assert verdict["stops"][verdict["chosen"]]["sentence"] == verdict["sentence"]
    assert verdict["sentence"] == ann.get(f"/api/runs/{run}/result").json()["sentence"]
    assert sum(verdict["histogram"]["counts"]) == len(lot.rows)
    stop = verdict["stops"][verdict["chosen"] - 1]
    moved = ann.send("PUT", f"/api/runs/{run}/verdict", json={"threshold": stop["threshold"]})
    assert moved["threshold"] == stop["threshold"]
    assert moved["counts"]["blemished"] == sum(row["verdict"] == "blemished" for row in ann.rows(run))
    assert ann.send("PUT", f"/api/runs/{run}/verdict", json={})["sentence"] == verdict["sentence"]
    assert ann.rows(run) == lot.rows
    ann.send("PUT", f"/api/runs/{run}/verdict", 400, json={"threshold": 1, "max_false_alarms": 0.1})


def test_a_word_about_one_photo(lot: Lot) -> None:
    ann, run, worst = lot.ann, lot.run, lot.worst
    said = ann.send("PUT", f"/api/runs/{run}/photos/{worst['pid']}/said", json={"call": "good"})
    assert (said["said"], said["verdict"], said["reason"]) == ("good", "ok", "as you said")
    back = ann.send("PUT", f"/api/runs/{run}/photos/{worst['pid']}/said", json={"call": None})
    assert (back["said"], back["verdict"]) == (None, worst["verdict"])
    assert ann.rows(run) == lot.rows
    trail = ann.get("/api/audit", params={"run": run, "limit": 1}).json()
    assert (trail[0]["who"], trail[0]["what"]) == ("Ann", "reviewed photo")
    assert json.loads(trail[0]["detail"]) == {"photo": worst["path"], "is": None}


def test_exports(lot: Lot) -> None:
    ann, run = lot.ann, lot.run
    before = ann.get(f"/api/runs/{run}/result").json()
    for name, words in (("coco", b'"images"'), ("labelstudio", b'"predictions"'), ("report", b"<!doctype html>")):
        taken = ann.get(f"/api/runs/{run}/exports/{name}")
        assert words in taken.content.lower()
        assert taken.headers["content-disposition"].startswith('attachment; filename="Lot 7 _ plates-')
    assert ann.rows(run) == lot.rows, "an export decides nothing"
    assert ann.get(f"/api/runs/{run}/result").json() == before, "and changes nothing"
    with zipfile.ZipFile(io.BytesIO(ann.get(f"/api/runs/{run}/exports/masks.zip").content)) as archive:
        assert set(archive.namelist()) == {f"{row['path']}.png" for row in lot.rows if row["verdict"] != "ok"}


def test_a_table_waits_for_nothing(lot: Lot) -> None:
    """Not even for a detector that is being made."""
    service = lot.ann.http.app.state.service

    async def taken() -> int:
        async with service.lock(lot.run):
            answer = await exports.take(lot.run, "csv", service)
            size = Path(answer.path).stat().st_size
            await answer.background()
        return size

    assert lot.ann.http.portal.call(taken) > 0
    assert list(service.workspace.scratch.iterdir()) == []


def test_a_lesson_and_its_taking_back(lot: Lot) -> None:
    ann, run = lot.ann, lot.run
    lesson = {"defects": [{"pid": lot.worst["pid"], "box": BOX}]}
    assert ann.send("POST", f"/api/runs/{run}/teach", json=lesson)["result"]["taught"] == {"good": 0, "defects": 1}
    assert ann.send("POST", f"/api/runs/{run}/teach/undo")["result"]["taught"] == {}
    assert ann.rows(run) == lot.rows
    ann.send("POST", f"/api/runs/{run}/teach/undo", 400)
    ann.send("POST", f"/api/runs/{run}/teach", 400, json={})


def test_a_detector_gives_the_score_that_the_command_gives(
    lot: Lot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ann = lot.ann
    detector = ann.send("POST", f"/api/runs/{lot.run}/freeze", 201)
    assert ann.get("/api/detectors").json() == [detector]
    new = tmp_path / "new.png"
    Image.fromarray(stained(200, 0.9)).save(new)
    path = f"/api/detectors/{detector['id']}/check"
    checked = ann.send("POST", path, files={"file": ("new.png", new.read_bytes())})
    file = tmp_path / "taken.blemish"
    file.write_bytes(ann.get(f"/api/detectors/{detector['id']}/file").content)
    assert call(monkeypatch, "check", file, new) == 0
    line = json.loads(capsys.readouterr().out)
    assert [checked[name] for name in ("score", "verdict", "threshold")] == [
        line[name] for name in ("score", "verdict", "threshold")
    ]
    assert [[one[side] for side in ("left", "top", "right", "bottom")] for one in checked["regions"]] == line["boxes"]
    assert checked["picture"].startswith("data:image/jpeg;base64,")
    ann.send("POST", path, 422, files={"file": ("x.png", b"<html>")})
    ann.send("DELETE", f"/api/detectors/{detector['id']}", 204)


def test_a_lost_database_is_made_again(database: str, photos: Path, tmp_path: Path) -> None:
    """The whole audit trail with it, also of a run that is not there any more."""
    with serving(tmp_path / "data", database=database) as ann:
        run = ann.scanned(photos)
        ann.send("PUT", f"/api/runs/{run}/photos/0/said", json={"call": "defect"})
        removed = ann.start(ann.get("/api/datasets").json()[0]["id"])
        ann.wait(removed)
        ann.send("DELETE", f"/api/runs/{removed}", 204)
        before = [ann.get(path).json() for path in ("/api/runs", "/api/datasets", "/api/audit")]
    assert {"removed run", "reviewed photo", "made data set"} <= {line["what"] for line in before[2]}
    if database.startswith("sqlite"):
        for file in tmp_path.glob("index.sqlite*"):
            file.unlink()
    else:
        emptied(database)
    for _ in range(2):  # nothing is there twice after another start
        with serving(tmp_path / "data", database=database) as ann:
            runs, datasets, audit = (ann.get(path).json() for path in ("/api/runs", "/api/datasets", "/api/audit"))
            assert datasets == before[1]
            assert _told(audit) == _told(before[2])
            assert [(one["id"], one["state"]) for one in runs] == [(run, "done")]
            assert ann.get(f"/api/runs/{run}/photos/0").json()["said"] == "defect"


def _told(audit: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the numbers, which are the database's."""
    return [{name: value for name, value in line.items() if name != "number"} for line in audit]


def test_a_database_is_the_index_of_one_folder(database: str, tmp_path: Path) -> None:
    with serving(tmp_path / "one", database=database) as ann:
        ann.dataset("of one")
    with pytest.raises(ConfigError, match="index of another data folder"), serving(tmp_path / "two", database=database):
        pass
    (tmp_path / "one").rename(tmp_path / "moved")
    with serving(tmp_path / "moved", database=database) as ann:
        assert [one["name"] for one in ann.get("/api/datasets").json()] == ["of one"]


def test_a_decision_while_the_database_is_away_keeps_its_line(
    serve: Serve, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = serve()
    run = ann.scanned(photos)
    away = Mock(side_effect=OperationalError("INSERT", {}, Exception("connection refused")))
    with monkeypatch.context() as patch:
        for method in ("note", "catch_up", "change"):
            patch.setattr(f"blemish.service.store.Store.{method}", away)
        for pid in (0, 1):
            said = ann.send("PUT", f"/api/runs/{run}/photos/{pid}/said", 503, json={"call": "defect"})
            assert "may have been done" in said["error"]
    assert ann.get(f"/api/runs/{run}/photos/0").json()["said"] == "defect"
    ann.send("PUT", f"/api/runs/{run}/photos/2/said", json={"call": "good"})
    trail = ann.get("/api/audit", params={"run": run}).json()
    assert [line["what"] for line in trail] == ["reviewed photo"] * 3 + ["started scan"]


def test_scans_are_cancelled_and_resumed(serve: Serve, database: str, photos: Path) -> None:
    """One that runs and one that waits."""
    ann = serve(database=database)
    dataset = ann.upload_folder(photos)
    first, second = ann.start(dataset), ann.start(dataset)
    for run in (second, first):
        assert ann.send("POST", f"/api/runs/{run}/cancel")["state"] == "cancelled"
        ann.send("POST", f"/api/runs/{run}/cancel", 409)
        ann.get(f"/api/runs/{run}/result", 409)
    ann.send("DELETE", f"/api/datasets/{dataset}", 409)
    ann.send("POST", f"/api/runs/{second}/resume")
    ann.wait(second)
    assert len(ann.rows(second)) == 27
    assert ann.get(f"/api/runs/{first}").json()["state"] == "cancelled"
    ann.send("POST", f"/api/runs/{second}/resume", 409)
    ann.send("DELETE", f"/api/runs/{first}", 204)
    ann.get(f"/api/runs/{first}", 404)


def test_a_scan_that_fails_says_why(serve: Serve) -> None:
    ann = serve()
    dataset = ann.dataset()
    ann.send("POST", "/api/runs", 409, json={"dataset": dataset})
    ann.upload(dataset, {f"{at}.png": photo for at, photo in enumerate(_two())})
    run = ann.start(dataset)
    failed = ann.wait(run, "failed")
    assert "at least 3 are needed" in failed["error"]
    ann.get(f"/api/runs/{run}/photos", 409)


def _two() -> list[bytes]:
    from clients import png

    return [png(stained(at)) for at in range(2)]


def test_a_folder_of_the_server_is_scanned_where_it_is(serve: Serve, photos: Path) -> None:
    ann = serve(roots=(photos.parent,))
    assert ann.get("/api/folders").json()["folders"] == [{"path": str(photos.parent), "name": photos.parent.name}]
    below = ann.get("/api/folders", params={"path": str(photos.parent)}).json()
    assert [one["name"] for one in below["folders"]] == ["lot"]
    dataset = ann.send("POST", "/api/datasets/folder", 201, json={"path": str(photos)})
    assert (dataset["kind"], dataset["photos"], dataset["holds"]) == ("folder", 27, "photos")
    told = _listened(ann)
    run = ann.start(dataset["id"])
    ann.wait(run)
    stages = [facts["stage"] for kind, facts in told if kind == "progress"]
    assert "reading photos" in stages
    assert "writing results" in stages
    assert told[-1] == ("state", {"state": "done", "error": ""})
    ann.get(f"/api/runs/{run}/photos/0/picture")
    ann.send("POST", f"/api/datasets/{dataset['id']}/files", 409, files=[("files", ("a.png", b"x"))])
    ann.send("DELETE", f"/api/runs/{run}", 204)
    ann.send("DELETE", f"/api/datasets/{dataset['id']}", 204)
    assert len(list(photos.rglob("*.png"))) == 27


def _listened(ann: Client) -> list[tuple[str, dict[str, Any]]]:
    """What everybody who listens is told from now on."""
    events = ann.http.app.state.service.events  # type: ignore[attr-defined]
    told: list[tuple[str, dict[str, Any]]] = []
    tell = events.tell

    def telling(run: str, kind: str, **facts: Any) -> None:
        told.append((kind, facts))
        tell(run, kind, **facts)

    events.tell = telling
    return told


def test_serve_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("short\n")
    for arguments, words in (
        (("--host", "0.0.0.0"), "only reachable with a token"),
        (("--token-file", token), "at least 16"),
        (("--root", tmp_path / "nowhere"), "is no folder"),
        (("--port", "70000"), "0 to 65535"),
        (("--database", "nonsense"), "Cannot open the database"),
    ):
        assert call(monkeypatch, "serve", "--data", tmp_path / "data", *arguments) == 2, words
        assert words in capsys.readouterr().err


def test_a_family_is_decided_and_undone(serve: Serve, database: str, tmp_path: Path) -> None:
    """Washers of which six share a flaw, on the default backbone."""
    batch = render_batch("washer", 30, size=256, recurring=(6,), sporadic=1, flaw_size=(0.12, 0.2))
    write_batch(tmp_path / "made", batch)
    ann = serve(database=database)
    run = ann.scanned(tmp_path / "made" / "photos", {"size": 256})
    (family,) = ann.get(f"/api/runs/{run}/families").json()
    assert (family["kind"], family["decided_by"], len(family["members"])) == ("defect", "blemish", 6)
    pids = [member["pid"] for member in family["members"]]
    before = {row["pid"]: row for row in ann.rows(run)}
    assert {row["pid"] for row in ann.rows(run, family=1)} == set(pids)
    near = ann.get(f"/api/runs/{run}/photos/{pids[0]}").json()["nearest"]
    assert all(one["counts"] == (one["pid"] not in pids) for one in near)

    ann.send("PUT", f"/api/runs/{run}/photos/{pids[0]}/said", json={"call": "good"})
    said = ann.send("PUT", f"/api/runs/{run}/families/1", json={"kind": "variant"})
    assert said["families"] == 1
    after = {row["pid"]: row for row in ann.rows(run)}
    assert all(after[pid]["score"] < before[pid]["score"] for pid in pids)
    assert after[pids[0]]["said"] == "good", "a decision about the family forgets no word about a photo"
    (told,) = ann.get(f"/api/runs/{run}/families").json()
    assert (told["kind"], told["decided_by"]) == ("variant", "user")

    ann.send("PUT", f"/api/runs/{run}/families/1", json={"kind": None})
    ann.send("PUT", f"/api/runs/{run}/photos/{pids[0]}/said", json={"call": None})
    assert {row["pid"]: row for row in ann.rows(run)} == before
    ann.send("PUT", f"/api/runs/{run}/families/1", 400, json={"kind": None})
    ann.send("PUT", f"/api/runs/{run}/families/2", 404, json={"kind": "defect"})


def test_a_database_that_is_away(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = serve()
    away = OperationalError("SELECT", {}, Exception("connection refused"))

    def refuse(*_: object) -> None:
        raise away

    with monkeypatch.context() as patch:
        patch.setattr("blemish.service.store.Store.all", refuse)
        assert "cannot reach its database" in ann.get("/api/runs", 503).json()["error"]
    assert ann.get("/api/runs").json() == []


def test_a_mistake_of_our_own_is_said_as_such(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON and with the headers of every answer; the log has the traceback. A database that answers is not away."""
    ann = serve()
    for error in (KeyError("x"), DataError("SELECT", {}, Exception("invalid byte"))):
        monkeypatch.setattr("blemish.service.store.Store.all", Mock(side_effect=error))
        with pytest.raises(type(error)):
            ann.get("/api/runs")
        quiet = TestClient(ann.http.app, base_url=LOOPBACK, raise_server_exceptions=False, client=("127.0.0.1", 50000))
        answer = quiet.get("/api/runs")
        assert answer.status_code == 500
        assert "by a mistake in it" in answer.json()["error"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_settings_name_the_backbones_that_have_a_name() -> None:
    """Paths and addresses are none of them: a request cannot make the service read a folder or fetch anything."""
    described = asking.ScanSettings.model_json_schema()["properties"]["backbone"]["anyOf"][0]["enum"]
    named = {facts.name for facts in list_backbones()}
    assert {name for both in described for name in both.split("+")} == named
    options = {field.name for field in fields(ScanConfig)}
    assert set(asking.ScanSettings.model_fields) <= options
    assert not {"ray_address", "executor", "device", "memory", "threads", "method", "text"} & set(
        asking.ScanSettings.model_fields
    )
