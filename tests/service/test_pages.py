"""The service's pages in a real browser against the real server: what an engineer does, by mouse and by keyboard.

They need Chromium (Debian: apt-get install chromium) and Playwright (pip install 'blemish[dev]'), which downloads none.
"""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service needs pip install 'blemish[serve]'")
pytest.importorskip("playwright", reason="the pages are tested with Playwright: pip install 'blemish[dev]'")

import httpx
import numpy as np
from browsers import FLAGS, WEBGL, browser_path, server, write_many
from clients import Client
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from blemish.inputs.synthetic import render_batch, write_batch
from judged_runs import GRADED, call, write_stained
from test_report import EVIL

MANY = 5000
LONGEST_TASK_MS = 200
PATIENCE_MS = 60_000
TRAPPED = "() => document.activeElement === document.body || !!document.activeElement.closest('dialog')"
FOCUSED = "() => document.activeElement.matches('a, button') ? document.activeElement.textContent : ''"


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    if browser_path() is None:
        pytest.skip("no Chromium or Chrome to open the pages with: apt-get install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=browser_path(), args=list(FLAGS))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The service's folder, with a run of many photos in it."""
    folder = tmp_path_factory.mktemp("service")
    write_many(folder, MANY)
    return folder


@pytest.fixture(scope="module")
def url(browser: Browser, data: Path) -> Iterator[str]:
    with server(data) as address:
        yield address


@pytest.fixture(scope="module")
def washers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four made-up parts, seven with the same flaw: whether it is one has to be asked."""
    folder = tmp_path_factory.mktemp("parts")
    write_batch(folder, render_batch("washer", 24, size=320, seed=5, recurring=(7,), sporadic=2))
    return folder / "photos"


Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, url: str) -> Iterator[Open]:
    """``opened(hash)``: a page of its own. What its console complains of fails the test."""
    contexts, complaints = [], []

    def open_(address: str = "", **options: object) -> Page:
        context = browser.new_context(viewport={"width": 1366, "height": 768}, **options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
        page.goto(f"{url}/{address}")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def scores(page: Page) -> list[str]:
    return page.locator(".virtual .score").all_text_contents()


def look_at_the_first(page: Page) -> None:
    """And say that it is good, and take that back."""
    page.locator(".virtual .open").first.click()
    view = page.get_by_role("dialog")
    expect(view.locator(".rank")).to_have_text("1")
    expect(view.locator(".plain .region").first).to_be_visible()
    expect(view.locator(".references img").first).to_be_visible()
    expect(view.locator(".words")).to_contain_text("90 % interval")
    view.locator(".larger").click()
    expect(view.locator(".whole")).to_have_text("150 %")
    view.get_by_role("button", name="Good", exact=True).click()
    expect(view.locator(".said-of")).to_have_text("Said to be good.")
    expect(view.locator("header .call")).to_have_text("ok")
    view.get_by_role("button", name="Undo", exact=True).click()
    expect(view.locator("header .call")).not_to_have_text("ok")
    view.locator(".close").click()


def move_the_threshold(page: Page) -> str:
    """The sentence that is kept."""
    sentence, slider = page.locator("#sentence"), page.locator("#threshold")
    own = sentence.text_content()
    box = slider.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.click(box["x"] + 0.02 * box["width"], box["y"] + box["height"] / 2)
    expect(page.locator(".standing-threshold .preview")).to_be_visible()
    expect(sentence).not_to_have_text(own or "")
    moved = sentence.text_content() or ""
    page.get_by_role("button", name="Keep this threshold").click()
    expect(page.locator(".standing-threshold .preview")).to_be_hidden()
    return moved


def test_a_folder_is_scanned_and_decided_about(opened: Open, washers: Path) -> None:
    page = opened()
    page.locator("#folder").set_input_files(washers)
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.locator(".virtual .card")).to_have_count(24)
    before = scores(page)
    assert before == sorted(before, reverse=True)
    look_at_the_first(page)

    page.get_by_role("link", name="Families").click()
    expect(page.locator(".question")).to_contain_text("Is this a flaw?")
    page.get_by_role("button", name="Defect").click()
    expect(page.locator(".effect")).to_contain_text("Now: ")
    expect(page.locator(".family.defect")).to_be_visible()
    page.get_by_role("link", name="Photos", exact=True).click()
    expect(page.locator(".virtual .card")).to_have_count(24)
    assert scores(page) != before

    page.get_by_role("link", name="Verdict").click()
    moved = move_the_threshold(page)
    blemished = page.locator(".count[data-call=blemished] strong").text_content()

    page.get_by_role("link", name="Export").click()
    expect(page.locator("main")).to_contain_text(moved.split(";")[0])
    with page.expect_download() as table:
        page.get_by_role("link", name="Table").click()
    with Path(table.value.path()).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(row["verdict"] == "blemished" for row in rows) == int(blemished or "")
    with page.expect_download() as masks:
        page.get_by_role("link", name="Masks").click()
    assert zipfile.ZipFile(masks.value.path()).namelist()


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Page, words: str) -> None:
    for _ in range(60):
        if words in page.evaluate(FOCUSED):
            return
        press(page, "Tab")
    raise AssertionError(f"{words!r} is not reached by Tab")


def look_with_keys(page: Page) -> None:
    """At the second photo, in the grid and large; what is said of it is taken back."""
    press(page, "j", "j")
    current = page.locator(".virtual .current")
    expect(current.locator(".rank")).to_have_text("2")
    press(page, "d")
    expect(current.locator(".call")).to_have_text("blemished")
    expect(current.locator(".said")).to_have_text("said: defect")
    expect(current.locator("button")).to_be_focused()  # still, after the grid has changed
    press(page, "u")
    expect(current.locator(".said")).to_have_text("")
    press(page, "k", "Enter")
    view = page.get_by_role("dialog")
    expect(view.locator(".rank")).to_have_text("1")
    press(page, "j")
    expect(view.locator(".rank")).to_have_text("2")
    press(page, "+", "Shift+ArrowRight", "0")
    expect(view.locator(".whole")).to_have_text("100 %")
    for _ in range(30):
        press(page, "Tab")
        assert page.evaluate(
            "() => document.activeElement === document.body || !!document.activeElement.closest('dialog')"
        )
    press(page, "g")
    expect(view.locator(".said-of")).to_have_text("Said to be good.")
    press(page, "u")
    expect(view.locator(".said-of")).to_have_count(0)
    press(page, "Escape")
    expect(current.locator("button")).to_be_focused()


def test_the_same_by_keyboard_only(opened: Open, washers: Path) -> None:
    page = opened()
    page.on("filechooser", lambda chooser: chooser.set_files(washers))  # early: to be told of it takes a moment
    page.wait_for_selector("#runs-title")
    tab_to(page, "Choose a folder")
    press(page, "Enter")
    expect(page.locator(".virtual .card")).to_have_count(24)
    before = scores(page)
    look_with_keys(page)
    press(page, "2")
    expect(page.locator(".family")).to_be_visible()
    press(page, "j", "d")
    expect(page.locator(".effect")).to_contain_text("Now: ")
    press(page, "1")
    expect(page.locator(".virtual .card")).to_have_count(24)
    assert scores(page) != before

    press(page, "3")
    slider = page.locator("#threshold")
    expect(slider).to_be_focused()
    own = page.locator("#sentence").text_content()
    press(page, "Home")
    expect(page.locator("#sentence")).not_to_have_text(own or "")
    press(page, "Enter")
    expect(page.locator("body > .notices")).to_contain_text("Kept: threshold")
    expect(slider).to_be_focused()

    press(page, "4")
    page.wait_for_selector(".exports")
    tab_to(page, "Report")
    with page.expect_download() as report:
        press(page, "Enter")
    assert report.value.suggested_filename.endswith(".html")
    press(page, "?")
    expect(page.get_by_role("dialog")).to_contain_text("this photo is defective")
    press(page, "Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


SCROLL = """
async () => {
  const long = [];
  const observer = new PerformanceObserver((list) => long.push(...list.getEntries().map((each) => each.duration)));
  observer.observe({ entryTypes: ["longtask"] });
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const end = document.documentElement.scrollHeight - innerHeight;
  for (const step of [innerHeight / 3, 4 * innerHeight]) {
    scrollTo(0, 0);
    for (let at = 0, moves = 0; at < end && moves < 80; at += step, moves += 1) {
      scrollTo(0, at);
      await frame();
    }
  }
  scrollTo(0, end);
  await new Promise((done) => setTimeout(done, 500));
  observer.disconnect();
  return { longest: Math.max(0, ...long), cards: document.querySelectorAll(".virtual .card").length };
}
"""


def test_five_thousand_photos_scroll(opened: Open, browser: Browser) -> None:
    """No task of the page takes over 200 ms of its own time: what the machine does meanwhile is not the page's."""
    page = opened("#run=manyrowsaa")
    expect(page.locator("#shown")).to_have_text("5,000 photos")
    browser.start_tracing(page=page, categories=["toplevel", "disabled-by-default-devtools.timeline"])
    seen = page.evaluate(SCROLL)
    longest = longest_task_ms(json.loads(browser.stop_tracing())["traceEvents"])
    assert 0 < longest <= LONGEST_TASK_MS, (longest, seen)
    assert seen["cards"] < 100
    expect(page.locator(".virtual .rank", has_text="5000")).to_be_visible()
    press(page, "j", "End")
    expect(page.locator(".current .rank")).to_have_text("5000")


def longest_task_ms(events: list[dict[str, Any]]) -> float:
    """On the threads where pages run, without waiting for a processor."""
    pages = {
        (each["pid"], each["tid"])
        for each in events
        if each["name"] == "thread_name" and each["args"]["name"] == "CrRendererMain"
    }
    return (
        max(each.get("tdur", 0) for each in events if (each["pid"], each["tid"]) in pages and each["ph"] == "X") / 1000
    )


def test_filters_and_names_that_are_markup(opened: Open) -> None:
    page = opened("#run=manyrowsaa")
    expect(page.locator("#shown")).to_have_text("5,000 photos")
    page.keyboard.press("/")
    page.keyboard.type(EVIL[0])
    expect(page.locator("#shown")).to_have_text("1 of 5000 photos")
    expect(page.locator(".virtual .path bdi")).to_have_text(EVIL[0])
    page.locator(".virtual .open").click()
    expect(page.get_by_role("dialog").locator(".path bdi")).to_have_text(EVIL[0])
    assert page.locator("img[src=x], .virtual b").count() == 0
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Show all").first.click()
    page.locator(".count[data-call=blemished]").click()
    expect(page.locator("#shown")).to_contain_text(", blemished")
    assert set(page.locator(".virtual .call").all_text_contents()) == {"blemished"}
    page.reload()  # the address keeps it
    expect(page.locator("#shown")).to_contain_text(", blemished")


def test_a_link_to_one_photo_among_thousands(opened: Open) -> None:
    page = opened("#run=manyrowsaa&photo=2000")
    view = page.get_by_role("dialog")
    rank = int(view.locator(".rank").text_content() or "")
    page.wait_for_selector(".virtual .card")
    press(page, "j", "j", "j", "k")
    expect(view.locator(".rank")).to_have_text(str(rank + 2))
    press(page, "Escape")
    expect(page.locator(".current .rank")).to_have_text(str(rank + 2))
    expect(page.locator(".current button")).to_be_focused()


def test_what_one_says_the_other_sees(opened: Open) -> None:
    first, second = (opened("#run=manyrowsaa") for _ in range(2))
    for page in (first, second):
        expect(page.locator("#shown")).to_have_text("5,000 photos")
    first.keyboard.press("j")
    first.keyboard.press("g")
    second.keyboard.press("j")
    second.keyboard.press("j")
    second.keyboard.press("d")
    for page in (first, second):
        expect(page.locator(".virtual .said").nth(0)).to_have_text("said: good")
        expect(page.locator(".virtual .said").nth(1)).to_have_text("said: defect")


def test_what_is_no_photo_is_refused_with_a_reason(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    page = opened()
    page.locator("#files").set_input_files(tmp_path / "notes.txt")
    expect(page.locator("main").get_by_role("alert")).to_contain_text("None of the files is a photo")
    expect(page.get_by_role("button", name="Choose a folder")).to_be_enabled()


def test_a_folder_that_is_dropped_and_a_scan_that_fails(opened: Open, tmp_path: Path) -> None:
    """Two photos are too few to compare; the folder in the folder is read, too."""
    folder = tmp_path / "too few"
    (folder / "line 1").mkdir(parents=True)
    for at, name in enumerate(("a.png", "line 1/b.png")):
        Image.fromarray(np.full((40, 50, 3), 90 + at, np.uint8)).save(folder / name)
    page = opened()
    box = page.locator(".drop").bounding_box()
    assert box is not None
    hand = page.context.new_cdp_session(page)
    dragged = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"x": box["x"] + 50, "y": box["y"] + 20}
        hand.send("Input.dispatchDragEvent", {"type": kind, **place, "data": dragged})
    expect(page.locator("h1")).to_have_text("The scan failed")
    expect(page.locator(".where-am-i")).to_have_text("too few")
    expect(page.locator("main").get_by_role("alert")).to_contain_text("2 readable photos in 'too few'")
    expect(page.get_by_role("button", name="Try again")).to_be_focused()
    page.locator(".home").click()
    page.get_by_role("button", name="Remove the scan of too few").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove it").click()
    expect(page.get_by_role("link", name="too few")).to_have_count(0)


def test_volumes_in_three_planes(playwright: Playwright, url: str, tmp_path: Path) -> None:
    pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")
    from test_volume_scanning import write  # needs nibabel

    with httpx.Client(base_url=url, timeout=PATIENCE_MS / 1000) as http:
        program = Client(http)
        dataset = program.upload_folder(write(tmp_path / "brains", 4, (3,)))
        volumes = {"grid": 8, "cube": 64}
        run = program.start(dataset, {"backbone": "mock", "families": "off", "cache": False, "volumes": volumes})
        program.wait(run)
    flags = [*(flag for flag in FLAGS if flag != "--disable-gpu"), *WEBGL]
    browser = playwright.chromium.launch(executable_path=browser_path(), args=flags)
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    refused: list[str] = []
    page.on("console", lambda line: refused.append(line.text) if "Refused" in line.text else None)
    page.goto(f"{url}/#run={run}")
    page.locator(".slices").first.click()
    view = page.get_by_role("dialog")
    expect(view.locator(".where")).to_contain_text("map")
    place = view.locator(".where").text_content()
    page.keyboard.press("ArrowRight")
    expect(view.locator(".where")).not_to_have_text(place or "")
    page.keyboard.press("n")
    expect(view.locator(".rank")).to_have_text("2")
    expect(view.locator(".where")).to_contain_text("map")
    page.keyboard.press("Escape")
    expect(page.locator(".virtual .current .rank")).to_have_text("2")
    assert refused == []
    browser.close()


def test_who_has_no_token_is_asked_for_it(browser: Browser, tmp_path: Path) -> None:
    token = "f00d" * 8
    (tmp_path / "token").write_text(token)
    with server(tmp_path / "data", "--token-file", str(tmp_path / "token")) as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_url("**/login")
        page.get_by_label("Token").fill("wrong " * 4)
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_contain_text("not the token")
        page.get_by_label("Token").fill(token)
        page.keyboard.press("Enter")
        expect(page.locator("#runs-title")).to_be_visible()
        assert token not in page.url
        page.close()


UNNAMED = """
() => [...document.querySelectorAll("button, a, input, select, img, dialog, canvas")]
  .filter((each) => each.checkVisibility() && !each.matches("[alt], [aria-label], [aria-labelledby]"))
  .filter((each) => !each.textContent.trim() && !each.labels?.length && !each.closest("label"))
  .map((each) => each.outerHTML)
"""


def test_one_score_everywhere(
    opened: Open, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one photo: of the run in REST, table and page; of its detector in REST, page and ``blemish check``."""
    folder = write_stained(tmp_path / "lot", GRADED)
    with httpx.Client(base_url=url, timeout=PATIENCE_MS / 1000) as http:
        program = Client(http)
        run = program.scanned(folder)
        row = program.rows(run)[0]
        digits = program.get(f"/api/runs/{run}/verdict").json()["digits"]
        table = csv.DictReader(program.get(f"/api/runs/{run}/exports/csv").text.lstrip("\ufeff").splitlines())
        assert next(float(line["score"]) for line in table if line["path"] == row["path"]) == row["score"]
        assert program.get(f"/api/runs/{run}/photos/{row['pid']}").json()["score"] == row["score"]
        detector = program.send("POST", f"/api/runs/{run}/freeze", 201)["id"]
        path = f"/api/detectors/{detector}"
        photo = folder / row["path"]
        checked = program.send("POST", f"{path}/check", files={"file": (photo.name, photo.read_bytes())})["score"]
        (tmp_path / "lot.blemish").write_bytes(program.get(f"{path}/file").content)
    assert call(monkeypatch, "check", tmp_path / "lot.blemish", photo) == 0
    assert json.loads(capsys.readouterr().out)["score"] == checked

    page = opened(f"#run={run}")
    expect(page.locator(".virtual .score").first).to_have_text(f"{row['score']:.{digits}f}")
    page = opened(f"#detector={detector}")
    page.locator("input[type=file]").set_input_files(photo)
    expect(page.locator(".checked")).to_contain_text(f"Score {checked:.4f};")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_control_has_a_name_and_nothing_is_too_wide(opened: Open, scheme: str) -> None:
    for view in ("", *(f"#run=manyrowsaa&view={view}" for view in ("photos", "families", "verdict", "export"))):
        page = opened(view, color_scheme=scheme)
        page.wait_for_selector("main h1")
        assert page.evaluate(UNNAMED) == []
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        page.close()
