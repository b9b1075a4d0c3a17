"""The verdict in report.html: every threshold's meaning in one part of the page, and what a browser makes of it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.judgement import Interval, Judgement, Region, Stop
from blemish.result import Result
from blemish.sinks import report
from blemish.sinks.report_verdict import _percent, _runs, _typed
from test_report import EVIL, GRID, Page, a_result, page

SCORES = [0.9, 0.7, 0.52, 0.5, 0.48, 0.3, 0.25, 0.2, 0.15, 0.1]
WIDTH = 0.03  # half of each score's interval
ALWAYS = (7,)
WAITING = (8,)  # unsure at every threshold
CHOSEN = 5


def calls(stop: Stop) -> list[str]:
    """As ``Judgement`` has it."""
    return [
        "unsure" if row in stop.unsure else "blemished" if score > stop.threshold or row in ALWAYS else "ok"
        for row, score in enumerate(SCORES)
    ]


def stops() -> tuple[Stop, ...]:
    found = []
    for threshold in sorted((a + b) / 2 for a, b in pairwise(SCORES)):
        near = {row for row, score in enumerate(SCORES) if abs(score - threshold) < WIDTH} - set(ALWAYS)
        stop = Stop(threshold, 0, tuple(sorted(near | set(WAITING))), "")
        blemished, unsure = calls(stop).count("blemished"), len(stop.unsure)
        words = f"{blemished} of 10 photos are blemished; about 1 in 9 < 10; {unsure} need a look."
        found.append(replace(stop, blemished=blemished, sentence=words))
    return tuple(found)


def judged(paths: list[str] | None = None, chosen: int = CHOSEN, **changed: Any) -> Result:
    result = a_result(
        paths or [f"{row}.png" for row in range(len(SCORES))],
        grids=np.array(SCORES)[:, None, None] * np.ones((len(SCORES), *GRID)),
    )
    stop = stops()[chosen]
    photos = tuple(
        replace(
            photo,
            verdict=call,
            low=score - WIDTH,
            high=score + WIDTH,
            reason="family 2 waits for your decision" if row in WAITING else "too close" if call == "unsure" else "",
        )
        for row, (photo, call, score) in enumerate(zip(result.photos, calls(stop), SCORES, strict=True))
    )
    judgement = Judgement(
        threshold=stop.threshold,
        pixel_threshold=0.4,
        rule="the fewest false alarms",
        share=Interval(0.031, 0.0042, 0.118),
        at_least=False,
        false_alarms=Interval(1 / 300, 1 / 900, 1 / 120),
        sentence=stop.sentence,
        unsure=stop.unsure,
        always=ALWAYS,
        spared=(),
        stops=stops(),
    )
    place = Region(32, 24, 96, 48, 1000, 0.9, 0.0125, 0.02)
    regions = {photo.path: (place,) for photo in photos if photo.verdict != "ok" and photo.rank != 2}
    return replace(result, photos=photos, judgement=replace(judgement, **changed), regions=regions)


def parts(file: Path) -> tuple[bytes, bytes, bytes]:
    match = re.fullmatch(rb"(.*)(<!-- verdict -->.*<!-- /verdict -->)(.*)", file.read_bytes(), re.DOTALL)
    assert match
    return match[1], match[2], match[3]


def block(file: Path) -> dict[str, Any]:
    found = re.findall(r'<script type="application/json" id="verdict">(.*?)</script>', file.read_text(encoding="utf-8"))
    assert len(found) == 1
    return json.loads(found[0])


def test_the_sentence_the_counts_and_the_share_are_told_without_a_script(tmp_path: Path) -> None:
    shown = page(judged(), tmp_path)
    text = " ".join(shown.text.split())
    assert stops()[CHOSEN].sentence in text
    assert "4 blemished 3 need a look 3 ok" in text
    assert "≈ 3.1\u00a0% estimated share of defects, 90\u00a0% interval 0.42\u00a0% to 12\u00a0%" in shown.text
    assert "does not decide" not in text
    assert "blemish verdict" in text


def test_where_the_share_has_no_upper_end_only_the_least_is_told(tmp_path: Path) -> None:
    shown = page(judged(at_least=True), tmp_path)
    assert "≥ 0.42\u00a0% estimated share of defects; more may look like good photos" in shown.text


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0"), (0.00123, "0.12"), (0.035, "3.5"), (0.0996, "10"), (0.5, "50"), (1, "100"), (0.00005, "0.005")],
)
def test_shares_have_two_figures(share: float, words: str) -> None:
    assert _percent(share) == f"{words}\u00a0%"


def test_without_a_judgement_the_page_says_that_nothing_was_decided(tmp_path: Path) -> None:
    shown = page(replace(judged(), judgement=None), tmp_path)
    assert "does not decide" in shown.text
    assert "10 photos, most unusual first" in shown.text
    assert not [attributes for _, attributes in shown.elements if attributes.get("id") in ("verdict", "threshold")]
    assert not shown.all("span", "call")
    assert len(shown.all("script")) == 1


def test_the_block_gives_every_photo_its_call_at_every_threshold(tmp_path: Path) -> None:
    result = judged()
    page(result, tmp_path)
    values = block(tmp_path / "report.html")
    assert len(values["stops"]) == len(stops())
    for stop, shown in zip(stops(), values["stops"], strict=True):
        unsure = {row for first, last in shown["unsure"] for row in range(first, last + 1)}
        found = [
            "unsure" if row in unsure else "blemished" if row < shown["above"] or row in values["always"] else "ok"
            for row in range(len(SCORES))
        ]
        assert found == calls(stop)
        assert shown["sentence"] == stop.sentence
    assert values["chosen"] == CHOSEN
    assert [photo.verdict for photo in result.scored] == calls(stops()[CHOSEN])
    assert values["regions"]["0"] == {"count": 1, "share": 1.25, "boxes": [[10, 10, 20, 10]]}
    assert values["reasons"]["8"] == "family 2 waits for your decision"


def test_a_photo_has_few_outlines_however_many_its_places(tmp_path: Path) -> None:
    places = tuple(Region(at, at, at + 1, at + 1, 1, 1, 1e-5, 1) for at in range(200))
    page(replace(judged(), regions={"0.png": places}), tmp_path)
    shown = block(tmp_path / "report.html")["regions"]["0"]
    assert shown["count"] == 200
    assert len(shown["boxes"]) == 24


@pytest.mark.parametrize(
    ("rows", "runs"),
    [((), []), ((4,), [(4, 4)]), ((7, 1, 2, 3, 9), [(1, 3), (7, 7), (9, 9)])],
)
def test_rows_are_told_in_runs(rows: tuple[int, ...], runs: list[tuple[int, int]]) -> None:
    assert _runs(rows) == runs


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        (0.4000000001, "0.400"),  # nobody between
        (0.35000004, "0.35000004"),  # two scores with the first digits in common
        (0.30004, "0.3000"),  # equal to a score is not above it
        (0.9, "0.900"),
        (-1.0, "-1.000"),
    ],
)
def test_a_threshold_is_typed_with_as_few_digits_as_separate_the_same_photos(threshold: float, words: str) -> None:
    ascending = [0.3, 0.35000003, 0.35000005, 0.9]
    typed = _typed(threshold, ascending, 3)
    assert sum(score > float(typed) for score in ascending) == sum(score > threshold for score in ascending)
    assert float(typed) == pytest.approx(threshold, abs=1e-3)
    assert len(typed) <= len(words)


def test_nothing_can_leave_the_block(tmp_path: Path) -> None:
    evil = [*EVIL, "</script><script>alert(1)</script>", "<!-- /verdict -->", "\u2028\u2029 & <!--", "\udcff"]
    result = judged([f"{row}{path}" for row, path in enumerate(evil)], rule="".join(evil))
    photos = tuple(replace(photo, reason=path) for photo, path in zip(result.photos, evil, strict=True))
    stop = replace(stops()[CHOSEN], sentence="".join(evil[:8]))
    judgement = replace(result.judgement, stops=(stop, *stops()[CHOSEN + 1 :]))
    shown = page(replace(result, photos=photos, judgement=judgement), tmp_path)
    file = tmp_path / "report.html"
    assert len(shown.all("script")) == 2
    assert not shown.all("b")
    assert file.read_bytes().count(b"<!-- /verdict -->") == 1
    values = block(file)
    assert values["rule"] == "".join(evil)
    assert values["reasons"] == {str(row): path for row, path in enumerate(evil)}
    assert "".join(evil[:8]) in shown.text
    assert not re.search(r"[<>&\u2028\u2029]", re.search(r'id="verdict">(.*?)</script>', file.read_text())[1])


def test_another_verdict_is_another_part_and_nothing_else(tmp_path: Path) -> None:
    one, other, made = tmp_path / "one.html", tmp_path / "other.html", tmp_path / "made.html"
    report.write(judged(), one, "run")
    report.write(judged(chosen=6, at_least=True, rule="as typed"), other, "run")
    report.replace_verdict(one, made, judged(chosen=6, at_least=True, rule="as typed"))
    assert made.read_bytes() == other.read_bytes()
    assert parts(one)[0] == parts(other)[0]
    assert parts(one)[2] == parts(other)[2]
    report.replace_verdict(made, made, judged())  # in place
    assert made.read_bytes() == one.read_bytes()


def test_what_cannot_be_replaced_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    report.write(replace(judged(), judgement=None), file)
    with pytest.raises(ValueError, match="no verdict"):
        report.replace_verdict(file, tmp_path / "new.html", judged())
    report.write(judged(), file)
    with pytest.raises(ValueError, match="no judgement"):
        report.replace_verdict(file, tmp_path / "new.html", replace(judged(), judgement=None))
    assert not (tmp_path / "new.html").exists()


def test_a_large_page_is_replaced_quickly(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    report.write(judged(), file)
    before, verdict, after = parts(file)
    file.write_bytes(before + verdict + b"<!--" + b"x" * 20_000_000 + b"-->" + after)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        report.replace_verdict(file, tmp_path / "new.html", judged())
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5  # a tenth of it where nothing else runs


# A real browser, where there is one

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1366,900",
)

Open = Callable[[Path, str], str]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """A page and what follows # -> the document after its script has run."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium or Chrome to open the page with")

    def open_(file: Path, state: str) -> str:
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        command = [browser, *QUIET, profile, "--dump-dom", f"{file.as_uri()}#{state}"]
        return subprocess.run(command, capture_output=True, check=True, timeout=120).stdout.decode()

    return open_


def document(text: str, folder: Path) -> Page:
    file = folder / "dom.html"
    file.write_text(text, encoding="utf-8")
    return Page(file)


def told(opened: Open, file: Path, script: str, state: str = "") -> Any:
    """What ``script`` returns when it runs in the page, whose policy lets no other script run and is taken out."""
    page = re.sub('<meta http-equiv="Content-Security-Policy".*?>', "", file.read_text("utf-8"), flags=re.DOTALL)
    probe = (
        f"<script>{{ const told = document.createElement('pre'); told.id = 'told';"
        f"told.textContent = JSON.stringify((() => {{ {script} }})()); document.body.append(told); }}</script></body>"
    )
    file = file.with_name("probed.html")
    head, _, tail = page.rpartition("</body>")  # the last one: a viewer's own text may name another
    file.write_text(head + probe + tail, encoding="utf-8")
    found = re.search(r'<pre id="told">(.*?)</pre>', opened(file, state), re.DOTALL)
    assert found, "the script failed"
    return json.loads(html.unescape(found[1]))


@pytest.mark.parametrize("at", [None, 0, 6])
def test_a_browser_shows_the_calls_of_a_threshold(opened: Open, tmp_path: Path, at: int | None) -> None:
    """The page as it is, with its policy."""
    file = tmp_path / "report.html"
    report.write(judged(), file, "parts 7")
    stop = stops()[CHOSEN if at is None else at]
    text = opened(file, "" if at is None else f"stop={at}")
    shown = document(text, tmp_path)
    assert [card["data-call"] for card in shown.all("li", "card")] == calls(stop)
    assert stop.sentence in shown.text
    counted = re.findall(r'data-call="(\w+)"[^>]*><strong[^>]*>(\d+)</strong>', text)
    assert dict(counted) == {call: str(calls(stop).count(call)) for call in ("blemished", "unsure", "ok")}
    labels = [button["aria-label"] for button in shown.all("button", "open")]
    assert labels[0] == f"Open photo 1, 0.png, score 0.900, {calls(stop)[0]}"
    assert f'blemish verdict "parts 7" --threshold {stop.threshold:.3f}' in shown.text
    assert ("previewed" in shown.all("html")[0]["class"]) == (at is not None)
    outlined = re.findall(r'<li class="card" data-rank="(\d+)"(?:(?!</li>).)*?class="region', text, re.DOTALL)
    own = [row for row, call in enumerate(calls(stops()[CHOSEN])) if call != "ok" and row != 1]
    assert [int(rank) - 1 for rank in outlined] == [row for row in own if calls(stop)[row] != "ok"]


def test_rows_beyond_the_pictures_have_their_verdict_too(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "PICTURES", 4)
    shown = page(judged(), tmp_path)
    assert len(shown.all("li", "card")) == 4
    dom = document(opened(tmp_path / "report.html", "stop=1&verdict=unsure"), tmp_path)
    listed = [*dom.all("li", "card"), *(row for row in dom.all("tr") if "data-path" in row)]
    assert [each["data-call"] for each in listed] == calls(stops()[1])
    visible = [each["data-path"] for each in listed if "hidden" not in each]
    assert visible == [f"{row}.png" for row in stops()[1].unsure]
    assert f"{len(visible)} of 10, unsure" in dom.text


def test_the_slider_moves_with_the_keys_and_the_hand(opened: Open, tmp_path: Path) -> None:
    report.write(judged(), tmp_path / "report.html")
    script = """
        const slider = document.querySelector("#threshold");
        const steps = [];
        const note = () => steps.push([
            document.querySelector("#sentence").textContent, location.hash, slider.getAttribute("aria-valuetext")]);
        const press = (key) => {
            slider.dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));
            slider.dispatchEvent(new KeyboardEvent("keyup", { key }));
            note();
        };
        for (const key of ["ArrowRight", "Home", "End", "ArrowUp"]) press(key);
        slider.value = 99; slider.dispatchEvent(new Event("input")); slider.dispatchEvent(new Event("change"));
        note();
        document.querySelector("#own-threshold").click();
        note();
        return steps;
    """
    steps = told(opened, tmp_path / "report.html", script)
    last = len(stops()) - 1
    want = [CHOSEN + 1, 0, last, last, last, CHOSEN]
    assert [sentence for sentence, _, _ in steps] == [stops()[at].sentence for at in want]
    assert [state for _, state, _ in steps] == [f"#stop={at}" for at in want[:-1]] + ["#photos"]
    assert steps[0][2].endswith(f"{stops()[CHOSEN + 1].blemished} blemished, {len(stops()[CHOSEN + 1].unsure)} unsure")


def test_a_count_shows_only_its_photos_until_it_is_chosen_again(opened: Open, tmp_path: Path) -> None:
    report.write(judged(), tmp_path / "report.html")
    script = """
        const unsure = document.querySelector(".count[data-call=unsure]");
        const visible = () => [
            [...document.querySelectorAll(".card:not([hidden])")].map((card) => card.dataset.path),
            unsure.getAttribute("aria-pressed"), document.querySelector("#shown").textContent];
        const seen = [];
        for (const act of [() => unsure.click(), () => unsure.click()]) { act(); seen.push(visible()); }
        return seen;
    """
    chosen, again = told(opened, tmp_path / "report.html", script)
    assert chosen == [[f"{row}.png" for row in stops()[CHOSEN].unsure], "true", "3 of 10, unsure"]
    assert again == [[f"{row}.png" for row in range(10)], "false", "10 photos"]


def test_the_histogram_counts_every_call_and_the_line_stands_on_the_thumb(opened: Open, tmp_path: Path) -> None:
    report.write(judged(), tmp_path / "report.html")
    script = """
        const heights = { blemished: 0, unsure: 0, ok: 0 };
        const drawn = [...document.querySelectorAll(".histogram .bar")];
        const unit = Math.min(...drawn.map((bar) => bar.getAttribute("height")));
        for (const link of document.querySelectorAll(".histogram svg a")) {
            const height = (name) => Number(link.querySelector(name).getAttribute("height")) / unit;
            heights.blemished += height(".blemished");
            heights.unsure += height(".unsure");
            heights.ok += height(".bar") - height(".blemished") - height(".unsure");
        }
        const gaps = [];
        const slider = document.querySelector("#threshold");
        const top = document.querySelector(".toolbar").getBoundingClientRect().top;
        for (const at of verdict.stops.keys()) {
            setState("stop", `${at}`);
            const line = document.querySelector(".histogram .threshold").getBoundingClientRect();
            const track = slider.getBoundingClientRect();
            gaps.push(line.left + line.width / 2 - (track.left + 10 + ((track.width - 20) * slider.value) / 100));
            gaps.push(document.querySelector(".toolbar").getBoundingClientRect().top - top);
        }
        return [heights, gaps];
    """
    heights, gaps = told(opened, tmp_path / "report.html", script)
    counts = {call: calls(stops()[CHOSEN]).count(call) for call in ("blemished", "unsure", "ok")}
    assert heights == pytest.approx(counts, abs=0.02)
    assert np.abs(gaps).max() < 0.5  # pixels, and nothing below has moved


def test_the_large_view_says_why(opened: Open, tmp_path: Path) -> None:
    report.write(judged(), tmp_path / "report.html")
    script = """
        const seen = {};
        const note = (at, rank) => {
            setState("stop", at); setState("photo", rank);
            const view = document.querySelector("#view");
            seen[`${at} ${rank}`] = [
                view.querySelector(".call").textContent, view.querySelector(".why").textContent,
                view.querySelectorAll(".plain .region").length];
        };
        for (const rank of ["1", "2", "8", "9", "10"]) note(null, rank);
        for (const rank of ["6", "7", "9"]) note("2", rank);
        return [seen, document.querySelector("#view .words").textContent];
    """
    seen, words = told(opened, tmp_path / "report.html", script)
    marked = "1 place marked, 1.25 % of the picture."
    later = "Its places are marked once this threshold is kept."
    assert seen == {
        "null 1": ["blemished", marked, 1],
        "null 2": ["blemished", "No place on it stands out.", 0],
        "null 8": ["blemished", f"It carries a recurring flaw, whatever its score. {marked}", 1],
        "null 9": ["unsure", f"Family 2 waits for your decision. {marked}", 1],
        "null 10": ["ok", "", 0],
        "2 6": ["blemished", later, 0],
        "2 7": ["unsure", f"Its score could lie on either side of this threshold. {later}", 0],
        "2 9": ["unsure", f"Family 2 waits for your decision. {marked}", 1],
    }
    assert "90 % interval 0.120 to 0.180" in words


def test_outlines_can_be_turned_off(opened: Open, tmp_path: Path) -> None:
    report.write(judged(), tmp_path / "report.html")
    script = """
        const shown = () => getComputedStyle(document.querySelector(".card .region")).display;
        const before = shown();
        document.querySelector("#outlines").click();
        return [before, shown(), location.hash];
    """
    assert told(opened, tmp_path / "report.html", script) == ["block", "none", "#outlines=off"]


def test_without_a_judgement_the_script_still_works(opened: Open, tmp_path: Path) -> None:
    report.write(replace(judged(), judgement=None), tmp_path / "report.html")
    dom = document(opened(tmp_path / "report.html", "verdict=unsure&stop=3&photo=2"), tmp_path)
    assert "10 photos" in dom.text
    assert not [card for card in dom.all("li", "card") if "hidden" in card]
    assert "open" in dom.all("dialog")[0]


def test_the_threshold_of_volumes_can_be_tried_out_too(opened: Open, tmp_path: Path) -> None:
    """By the same script's words: counts, sentence and command follow the slider, and so do the volumes of a call."""
    pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")
    from blemish.scanning import scan
    from test_volume_scanning import CONFIG, write

    run = scan(write(tmp_path / "brains", 4, (3,)), CONFIG).save(tmp_path / "run")
    script = """
        const slider = document.querySelector("#threshold");
        const seen = () => ({
          counts: [...document.querySelectorAll(".count strong")].map((each) => Number(each.textContent)),
          calls: [...document.querySelectorAll(".volume")].map((each) => each.dataset.call),
          left: document.querySelectorAll(".volume:not([hidden])").length,
          sentence: document.querySelector("#sentence").textContent,
          preview: document.documentElement.classList.contains("previewed"),
          option: document.querySelector(".preview .option").textContent,
        });
        const key = (name) => slider.dispatchEvent(new KeyboardEvent("keydown", { key: name }));
        const steps = [seen()];
        document.querySelector(".count[data-call=ok]").click();
        key("Home");
        steps.push(seen());
        key("End");
        steps.push(seen());
        document.querySelector("#own-threshold").click();
        document.querySelector(".count[data-call=ok]").click();
        steps.push(seen());
        return steps;
    """
    own, low, high, again = told(opened, run / "report.html", script)
    stops = block(run / "report.html")["stops"]
    assert again == own and not own["preview"]
    for step, stop in ((low, stops[0]), (high, stops[-1])):
        assert step["preview"] and step["option"] == f"--threshold {stop['threshold']}"
        assert step["sentence"] == stop["sentence"]
        assert step["counts"] == [step["calls"].count(call) for call in ("blemished", "unsure", "ok")]
        assert step["left"] == step["calls"].count("ok")
    assert own["left"] == len(own["calls"]) == 4
    assert low["counts"] != high["counts"]
