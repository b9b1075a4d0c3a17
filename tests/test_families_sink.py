"""families.json and the families of report.html: everything is told, nothing a file is called can do harm."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blemish.errors import InputError
from blemish.result import Family, Member, Result
from blemish.sinks import csv as csv_sink
from blemish.sinks import families, jsonl, report, report_families
from test_report import EVIL, GRID, SHAPE, Page, a_manifest, a_result, page

PATHS = [f"{i}.png" for i in range(10)]


def a_family(number: int, paths: list[str], **more: Any) -> Family:
    place = np.zeros(GRID, np.float32)
    place[0, 1], place[1, 1] = 1, 1 / 3
    values: dict[str, Any] = {
        "number": number,
        "kind": "defect",
        "decided_by": "blemish",
        "members": tuple(Member(path, f"{i:064x}", 0.25, 0, 0.5, 1 / 3) for i, path in enumerate(paths)),
        "place": place,
        "density": 0.625,
        "strength": 2.125,
        "fence": 1.15,
        "score_with": 0.25,
        "score_without": 0.75,
        "question": "",
    }
    return Family(**{**values, **more})


def a_batch(*found: Family, paths: list[str] = PATHS, **more: Any) -> Result:
    manifest = a_manifest()
    manifest["config"]["families"] = {"rule": "auto"}
    return a_result(paths, families=found, **{"manifest": manifest, **more})


def words(shown: Page) -> str:
    return " ".join(shown.text.split())


def pictures(shown: Page, alt: str) -> list[Image.Image]:
    sources = [image["src"] for image in shown.all("img") if image.get("alt", "").startswith(alt) and "src" in image]
    return [Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) for source in sources]


def test_families_json_has_every_field(tmp_path: Path) -> None:
    family = a_family(1, PATHS[:3], kind="unsure", question="it is on 30% of the photos")
    families.write(a_batch(family), tmp_path / "families.json")
    stored = json.loads((tmp_path / "families.json").read_text(encoding="utf-8"))
    assert (stored["schema"], stored["photos"], len(stored["families"])) == (1, 10, 1)
    assert stored["families"][0] == {
        "number": 1,
        "kind": "unsure",
        "decided_by": "blemish",
        "question": "it is on 30% of the photos",
        "evidence": family.evidence(10),
        "strength": 2.125,
        "fence": 1.15,
        "density": 0.625,
        "score_with": 0.25,
        "score_without": 0.75,
        "members": [
            {
                "path": f"{i}.png",
                "sha256": f"{i:064x}",
                "box": {"left": 0.25, "top": 0.0, "right": 0.5, "bottom": 1 / 3},
            }
            for i in range(3)
        ],
        "place": {"height": 3, "width": 4, "shares": [[0, 1, 0, 0], [0, 0.333, 0, 0], [0, 0, 0, 0]]},
    }


def test_families_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = (a_family(1, EVIL), a_family(2, PATHS[3:6], kind="variant", decided_by="user", strength=np.float32(1.5)))
    families.write(a_batch(*found, paths=EVIL + PATHS), tmp_path / "families.json")
    read = families.read(tmp_path / "families.json")
    assert [family.paths for family in read] == [family.paths for family in found]
    assert [family.members for family in read] == [family.members for family in found]
    assert (read[1].kind, read[1].decided_by, read[1].strength) == ("variant", "user", 1.5)
    np.testing.assert_allclose(read[0].place, found[0].place, atol=5e-4)


def test_no_families_are_an_answer_too(tmp_path: Path) -> None:
    families.write(a_batch(), tmp_path / "families.json")
    stored = json.loads((tmp_path / "families.json").read_text(encoding="utf-8"))
    assert stored == {"schema": 1, "photos": 10, "families": []}


def test_names_and_numbers_that_json_lacks(tmp_path: Path) -> None:
    paths = ["Prüfling 部品.png", "bad-\udcff.png", "c.png"]
    families.write(a_batch(a_family(1, paths, strength=float("inf")), paths=paths), tmp_path / "families.json")
    text = (tmp_path / "families.json").read_bytes().decode()
    stored = json.loads(text)["families"][0]
    assert [member["path"] for member in stored["members"]] == paths
    assert stored["strength"] is None
    assert paths[0] in text


def test_what_is_not_families_json(tmp_path: Path) -> None:
    (tmp_path / "families.json").write_text('{"schema": 99, "families": []}')
    with pytest.raises(InputError, match="schema is 99"):
        families.read(tmp_path / "families.json")


def test_tables_name_the_family(tmp_path: Path) -> None:
    result = a_batch(a_family(1, PATHS[:3]), a_family(2, PATHS[2:6]))
    csv_sink.write(result, tmp_path / "results.csv")
    jsonl.write(result, tmp_path / "results.jsonl")
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as handle:
        assert [row["family"] for row in csv.DictReader(handle)] == list("111222") + [""] * 4
    lines = (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["family"] for line in lines] == [1, 1, 1, 2, 2, 2] + [None] * 4


# kind, decided by, words the reader must find, commands offered
@pytest.mark.parametrize(
    ("kind", "by", "expected", "commands"),
    [
        (
            "defect",
            "blemish",
            ("recurring flaw", "0.25 → 0.75 once the look may not vouch", "blemish decided: taken out"),
            ["1 --is variant"],
        ),
        (
            "defect",
            "user",
            ("recurring flaw", "You decided: taken out of the comparison"),
            ["1 --is variant", "1 --undo"],
        ),
        (
            "variant",
            "user",
            ("legitimate variant", "0.25, would be 0.75", "You decided: left in the comparison"),
            ["1 --is defect", "1 --undo"],
        ),
        (
            "unsure",
            "blemish",
            ("flaw or variant?", "Is this a flaw?", "cannot tell: it is on 45% of the photos. Until you answer"),
            ["1 --is defect", "1 --is variant"],
        ),
    ],
)
def test_a_family_is_told_with_what_can_be_done(
    tmp_path: Path, kind: str, by: str, expected: tuple[str, ...], commands: list[str]
) -> None:
    question = "it is on 45% of the photos." if kind == "unsure" else ""
    family = a_family(1, PATHS[:3], kind=kind, decided_by=by, question=question)
    report.write(a_batch(family), tmp_path / "report.html", "parts-blemish")
    shown = Page(tmp_path / "report.html")
    always = ("· 3 photos", family.evidence(10), "3 of 10 (30%)", "2.12 (needs more than 1.15)", "0.62")
    for each in (*always, *expected):
        assert each in words(shown), each
    offered = re.findall(r"blemish decide parts-blemish (\d+ --(?:undo|is defect|is variant))", words(shown))
    assert offered == commands
    assert bool(shown.all("div", "question")) == (kind == "unsure")


def test_questions_are_announced_and_families_come_first(tmp_path: Path) -> None:
    found = (
        a_family(1, PATHS[:3]),
        a_family(2, PATHS[3:6], kind="unsure", question="it is on 30%"),
        a_family(3, PATHS[6:9], kind="variant", decided_by="user"),
    )
    shown = page(a_batch(*found), tmp_path)
    assert [section["id"] for section in shown.all("section")][:2] == ["families", "photos"]
    assert "1 recurring flaw was taken out of the comparison. 1 legitimate variant was left in it." in words(shown)
    assert "1 question is for you: family 2." in words(shown)


def test_cards_and_rows_lead_to_their_families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "PICTURES", 4)
    shown = page(a_batch(a_family(1, PATHS[:3]), a_family(2, PATHS[2:6])), tmp_path)
    assert [card.get("data-families") for card in shown.all("li", "card")] == ["1", "1", "1 2", "2"]
    assert [row.get("data-families") for row in shown.all("tr") if "data-path" in row] == ["2", "2", *[None] * 4]
    badges = [link["href"] for link in shown.all("a", "to-family")]
    assert badges == [f"#family-{n}" for n in (1, 1, 1, 2, 2, 2, 2)]
    assert {"family-1", "family-2"} <= {article["id"] for article in shown.all("article")}
    assert [link["href"] for link in shown.all("a", "members-of")] == ["#family=1", "#family=2"]
    opened = [link["href"] for link in shown.all("a") if link["href"].startswith("#photo=")]
    assert opened == [f"#photo={rank}" for rank in (1, 2, 3, 3, 4)], "only photos that have a card can be opened"


def test_hostile_names_of_members_are_text(tmp_path: Path) -> None:
    found = (a_family(1, EVIL), a_family(2, EVIL, kind="unsure", question=f"<b>{EVIL[1]}"))
    report.write(a_batch(*found, paths=EVIL), tmp_path / "report.html", EVIL[1])
    shown = Page(tmp_path / "report.html")
    assert [link["title"] for link in shown.all("a") if "title" in link] == EVIL * 2
    assert not [name for _, attributes in shown.elements for name in attributes if name.startswith("on")]
    assert len(shown.all("script")) == 1
    assert not shown.all("b")
    assert EVIL[1] in shown.text.split("Is this a flaw?")[1]


# the run folder's name, how a shell wants it
@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("parts-blemish", "parts-blemish"),
        ("line 3", '"line 3"'),  # double quotes: also for Windows
        ("it's", '"it\'s"'),
        ("$HOME `x`", "'$HOME `x`'"),
        ("-rf", "./-rf"),
    ],
)
def test_the_command_names_the_run_safely(tmp_path: Path, name: str, quoted: str) -> None:
    report.write(a_batch(a_family(1, PATHS[:3])), tmp_path / "report.html", name)
    assert f"blemish decide {quoted} 1 --is variant" in words(Page(tmp_path / "report.html"))


# settings of the run, whether it says that nothing recurs
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rule": "auto"}, True),
        ({"rule": "published"}, True),
        ({"rule": "off"}, False),  # nobody looked
        (None, False),  # a run from before families
    ],
)
def test_no_family_is_said_only_if_one_was_looked_for(
    tmp_path: Path, settings: dict[str, str] | None, said: bool
) -> None:
    manifest = a_manifest()
    if settings:
        manifest["config"]["families"] = settings
    shown = page(a_result(PATHS, manifest=manifest), tmp_path)
    assert ("No recurring flaw found" in words(shown)) == said
    assert not shown.all("article")


def test_crops_show_the_box_and_what_is_around_it(tmp_path: Path) -> None:
    """A red mark fills the box; the crop has red in the middle and the grey of the photo on its rim."""
    pixels = np.full((240, 320, 3), 90, np.uint8)
    pixels[96:144, 128:192] = (255, 0, 0)
    members = (Member(PATHS[0], "0" * 64, 0.4, 0.4, 0.6, 0.6),)
    result = a_batch(a_family(1, [], members=members))
    result = Result(result.photos, result.grids, SHAPE, lambda row: pixels, result.scale, families=result.families,
                    manifest=result.manifest)  # fmt: skip
    shown = page(result, tmp_path)
    crop = np.asarray(pictures(shown, "Open photo 1, ")[0]).astype(int)
    assert crop.shape[0] == crop.shape[1], "square, though the photo is not"
    red = crop[..., 0] - crop[..., 1] > 100
    assert red[crop.shape[0] // 2, crop.shape[1] // 2]
    assert not red[[0, -1]].any()
    assert not red[:, [0, -1]].any()
    style = shown.all("span", "box")[0]["style"]
    box = dict(re.findall(r"(\w+): ([\d.]+)%", style))
    left, right = np.flatnonzero(red.any(axis=0))[[0, -1]] / crop.shape[1]
    assert float(box["left"]) == pytest.approx(100 * left, abs=3)
    assert float(box["left"]) + float(box["width"]) == pytest.approx(100 * right, abs=3)


# box of a member: boxes at corners and of the whole photo still give a picture within it
@pytest.mark.parametrize("box", [(0, 0, 0.01, 0.01), (0.99, 0.99, 1, 1), (0, 0, 1, 1), (0, 0.4, 1, 0.5)])
def test_crops_stay_within_the_photo(box: tuple[float, float, float, float]) -> None:
    for aspect in (0.1, 1.0, 8.0):
        left, top, width, height = report_families._around(Member("a", "", *box), aspect)
        assert left >= 0
        assert top >= 0
        assert left + width <= 1 + 1e-9
        assert top + height <= 1 + 1e-9
        assert left <= box[0] + 1e-9
        assert left + width >= box[2] - 1e-9
        assert top <= box[1] + 1e-9
        assert top + height >= box[3] - 1e-9


def test_the_place_lies_on_a_photo_in_the_heat_of_the_run(tmp_path: Path) -> None:
    shown = page(a_batch(a_family(1, PATHS[:3])), tmp_path)
    figure = shown.all("figure", "where")
    assert len(figure) == 1
    layer = next(image["src"] for image in shown.all("img", "heat") if "src" in image)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(layer.split(",")[1]))).convert("RGBA"))
    assert np.unravel_index(pixels[..., 3].argmax(), pixels.shape[:2]) == (0, 2)  # twice the place's (0, 1)
    assert "Yellow: where 100% of these photos have it" in words(shown)


def test_large_and_many_families_stay_small(tmp_path: Path) -> None:
    paths = [f"{i:03}.png" for i in range(60)]
    shown = page(a_batch(*(a_family(n, paths[:40]) for n in range(1, 9)), paths=paths), tmp_path)
    assert len(shown.all("article")) == 8
    assert "and 16 more" in words(shown)
    assert "2 families with weaker evidence" in words(shown)
    crops = 6 * report_families.CROPS + 2 * report_families.FOLDED_CROPS
    assert len(shown.all("span", "box")) == crops


def test_a_member_that_was_not_scored_has_no_crop(tmp_path: Path) -> None:
    shown = page(a_batch(a_family(1, ["gone.png", PATHS[0], PATHS[1]])), tmp_path)
    assert len(shown.all("span", "box")) == 2
    assert "and 1 more" in words(shown)
