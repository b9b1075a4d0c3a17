"""Prompts: how they are composed, what a user may replace, and which names and files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from blemish.errors import ConfigError
from blemish.scoring.prompts import Ensemble, class_words, ensemble


def test_states_are_the_outer_loop_and_duplicates_count() -> None:
    given = Ensemble(("{}", "clean {}"), ("{} with scratch",), ("a {}.", "a {}.", "{} on a table."))
    found = given.prompts("gear_wheel")
    assert found.normal == (
        "a gear wheel.",
        "a gear wheel.",
        "gear wheel on a table.",
        "a clean gear wheel.",
        "a clean gear wheel.",
        "clean gear wheel on a table.",
    )
    assert found.anomalous == ("a gear wheel with scratch.",) * 2 + ("gear wheel with scratch on a table.",)


# ensemble, prompts of each side, distinct ones, whether they are the authors' own
PACKAGED = [
    ("winclip", (147, 84), (140, 80), True),
    ("anomalyclip", (1, 1), (1, 1), True),
    ("april-gan", (147, 105), (140, 100), False),  # its 35 templates are not packaged
]


@pytest.mark.parametrize(("name", "counts", "distinct", "published"), PACKAGED)
def test_packaged(name: str, counts: tuple[int, int], distinct: tuple[int, int], published: bool) -> None:
    found = ensemble(name).prompts("metal nut")
    assert (len(found.normal), len(found.anomalous)) == counts
    assert (len(set(found.normal)), len(set(found.anomalous))) == distinct
    assert ensemble(name).published is published


def test_anomalyclip_says_object_whatever_the_class() -> None:
    given = ensemble("anomalyclip")
    assert given.prompts() == given.prompts("metal nut") == given.prompts("\n")
    assert given.prompts().anomalous[0].endswith("X damaged object.")


# typed, as words, as the published code would say it
NAMES = [
    ("metal_nut", "metal nut", "metal_nut"),
    ("  metal   nut ", "metal nut", "metal   nut"),
    ("nut {}", "nut {}", "nut {}"),  # braces are words like others
    ("C3_0402", "C3 0402", "C3_0402"),
    ("歯車", "歯車", "歯車"),
    ("x" * 100, "x" * 100, "x" * 100),
]


@pytest.mark.parametrize(("typed", "words", "published"), NAMES)
def test_class_words(typed: str, words: str, published: str) -> None:
    assert class_words(typed) == words
    assert class_words(typed, as_published=True) == published
    assert f"a photo of a damaged {words}." in ensemble().prompts(typed).anomalous


# a name that nothing can be said of, what the message says
BAD_NAMES = [
    ("", "named in words"),
    ("  _ ", "named in words"),
    ("???", "named in words"),
    ("metal\nnut", "control characters"),
    ("metal\x00nut", "control characters"),
    ("metal\u2028nut", "control characters"),
    ("metal\ud800nut", "control characters"),  # half of a surrogate pair: no tokenizer can read it
    (" ".join(["nut"] * 200), "received 799"),
]


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize(("name", "says"), BAD_NAMES)
def test_names_that_are_refused(name: str, says: str, as_published: bool) -> None:
    with pytest.raises(ConfigError, match=says):
        ensemble().prompts(name, as_published=as_published)


def test_a_file_replaces_lists_and_keeps_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "prompts.toml"
    file.write_text('[winclip]\nanomalous = ["scratched {}"]\n\n[ours]\ntemplates = ["{}!"]\n')
    found = ensemble("winclip", file)
    assert found.anomalous == ("scratched {}",)
    assert (found.normal, found.templates) == (ensemble().normal, ensemble().templates)
    assert not found.published
    assert ensemble("ours", file).prompts("nut").anomalous[0] == "damaged nut!"


# what a file says, what the message says
BAD_FILES = [
    ("[winclip", "Cannot read the prompts"),
    ('normal = ["{}"]', "normal must stand below"),
    ('[other]\nnormal = ["{}"]', "it has other"),  # never ignored in favour of the package's
    ("", "it has none"),
    ('[winclip]\nnormals = ["{}"]', "no entry normals; known are normal"),
    ("[winclip]\nnormal = []", "normal must be a list of texts"),
    ('[winclip]\nnormal = "{}"', "normal must be a list of texts"),
    ('[winclip]\nnormal = ["fine"]', "must hold {} once"),
    ('[winclip]\ntemplates = ["{} {}"]', "must hold {} once"),
    ("[winclip]\ntemplates = [7]", "must hold {} once"),
    ('[winclip]\nunit_mean = "yes"', "true or false"),
    ('[winclip]\nsubject = "a\\nb"', "control characters"),
]


@pytest.mark.parametrize(("content", "says"), BAD_FILES)
def test_files_that_are_refused(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "prompts.toml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=says) as caught:
        ensemble("winclip", file)
    assert "prompts.toml" in str(caught.value)


def test_a_missing_file_and_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot read the prompts"):
        ensemble("winclip", tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="it has winclip, anomalyclip, april-gan"):
        ensemble("winclp")
