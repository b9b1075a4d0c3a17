"""Modules of the pages as one classic script: what comes first, and what one scope cannot hold."""

from __future__ import annotations

import re

import pytest

from blemish.sinks import report_scripts
from blemish.sinks.report_scripts import joined, source_of

ENTRIES = ("report_photos.js", "report_volumes.js")


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Name -> text, in place of the pages' own."""
    texts: dict[str, str] = {}
    monkeypatch.setattr(report_scripts, "source_of", texts.__getitem__)
    return texts


def test_what_is_needed_comes_first_and_once(modules: dict[str, str]) -> None:
    modules["a.js"] = 'import { b } from "./b.js";\nimport { c, d } from "./c.js";\nconst all = [b, c, d];\n'
    modules["b.js"] = 'import { c } from "./c.js";\nexport const b = c();\n'
    modules["c.js"] = "// it\nexport function c() {\n  const b = 1; // own\n}\nexport async function d() {}\n"
    assert joined("a.js") == (
        '"use strict";\n// it\nfunction c() {\n  const b = 1; // own\n}\nasync function d() {}\n\n'
        "const b = c();\n\nconst all = [b, c, d];\n"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('import b from "./b.js";', "import { a, b } from"),
        ('import { b as other } from "./b.js";', "import { a, b } from"),
        ('import * as b from "./b.js";', "import { a, b } from"),
        ('import { b } from "https://example.org/b.js";', "import { a, b } from"),
        ('import { b } from "../b.js";', "import { a, b } from"),
        ('import "./b.js";', "import { a, b } from"),
        ('import { inner } from "./b.js";', "b.js exports no 'inner'"),
        ("export default 1;", "where it is made"),
        ("export { a };", "where it is made"),
        ("export let a = 1;", "where it is made"),
        ('import { b } from "./b.js";\nconst b = 2;', "'b' is in b.js and in a.js"),
        ('import { b } from "./b.js";\nconst [inner, c] = [1, 2];', "'inner' is in b.js and in a.js"),
        ('import { b } from "./b.js";\nfunction inner() {}', "'inner' is in b.js and in a.js"),
        ('import { e } from "./e.js";\nexport const a = 1;', "modules import each other: a.js -> e.js -> a.js"),
    ],
)
def test_what_one_scope_cannot_hold_is_refused(modules: dict[str, str], text: str, why: str) -> None:
    modules["a.js"] = text
    modules["b.js"] = "export const b = 1;\nconst inner = 2;\n"
    modules["e.js"] = 'import { a } from "./a.js";\nexport const e = a;\n'
    with pytest.raises(ValueError, match=re.escape(why)):
        joined("a.js")


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_reports_are_the_pages_own_modules(entry: str) -> None:
    text = joined(entry)
    assert text.startswith('"use strict";\n')
    assert not re.search(r"^(import|export)\b", text, re.MULTILINE)
    assert "</script" not in text.lower()
    assert "<!--" not in text
    shared = {"report_photos.js": "photo_view.js", "report_volumes.js": "volume_view.js"}[entry]
    body = re.sub(r"^(import .*\n|export )", "", source_of(shared), flags=re.MULTILINE).strip()
    assert body in text
