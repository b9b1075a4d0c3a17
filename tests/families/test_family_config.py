"""How families are asked for: as text, as a TOML table, and what is said when it is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from blemish import cli
from blemish.config import FamilyConfig, ScanConfig, read_config
from blemish.errors import ConfigError


# text, what it means
@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("auto", FamilyConfig()),
        ("off", FamilyConfig(rule="off")),
        ("published", FamilyConfig("published", omega=(0.3,))),
        ("published,omega=0.2,k_iqr=4.5", FamilyConfig("published", omega=(0.2,), k_iqr=4.5)),
        (" published , omega = 20% ", FamilyConfig("published", omega=(0.2,))),
        ("published,weighted=no,degree=5", FamilyConfig("published", weighted=False, degree=5)),
        ("auto,omega=0.1/0.4,smallest=4", FamilyConfig(omega=(0.1, 0.4), smallest=4)),
        ("auto,beyond_batch=1.5,seed=7", FamilyConfig(beyond_batch=1.5, seed=7)),
    ],
)
def test_parse(text: str, config: FamilyConfig) -> None:
    assert FamilyConfig.parse(text) == config
    assert ScanConfig().updated(families=text).families == config


def test_defaults_of_the_reference_ranks() -> None:
    assert FamilyConfig().omega == (0.1, 0.2, 0.35)
    assert FamilyConfig("published").omega == (0.3,)
    assert FamilyConfig(omega=0.25).omega == (0.25,)  # type: ignore[arg-type]


# text, words of the error
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("publish", "auto, published or off; received 'publish'"),
        ("", "auto, published or off"),
        ("auto,colour=1", "no setting 'colour=1'.*NAME of omega, smallest"),
        ("auto,rule=off", "no setting 'rule=off'"),
        ("auto,omega", "no setting 'omega'"),
        ("auto,seed=many", "seed cannot be 'many'"),
        ("auto,seed=1.5", "seed cannot be '1.5'"),
        ("auto,seed=-1", "seed"),  # the community search takes none below 0
        ("auto,resolution=nan", "resolution"),
        ("auto,burn_out=nan", "burn_out"),
        ("auto,omega=0.1/x", "omega cannot be '0.1/x'"),
        ("auto,omega=30", r"omega.*between 0 and 1.*30"),
        ("published,omega=0.1/0.2", "the published rule has one omega"),
        ("published,weighted=maybe", "weighted cannot be 'maybe'"),
        ("published,coverage=0", "coverage is a share above 0"),
        ("published,degree=0", "degree is at least 1"),
        ("published,percentile=101", "percentiles are 0 to 100; received 101"),
        ("auto,smallest=2", "smallest is at least 3"),
        ("auto,resolution=0", "resolution is above 0"),
    ],
)
def test_wrong_text(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        FamilyConfig.parse(text)


# a line of the table, words of the error
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("colour = 1", "no setting colour; known are rule"),
        ("rule = 3", "auto, published or off; received 3"),
        ("smallest = '3'", "smallest"),
        ("omega = ['0.2']", "omega"),
        ("burn_out = 'high'", "burn_out"),
        ("k_iqr = '3'", "k_iqr"),
        ("beyond_batch = [1]", "beyond_batch"),
        ("weighted = 'no'", "weighted"),  # a text is true in Python
        ("seed = 'a'", "seed"),
        ("seed = 1.5", "seed"),
        ("degree = 2.5", "degree"),
        ("coverage = true", "coverage"),
    ],
)
def test_wrong_tables(tmp_path: Path, line: str, words: str) -> None:
    file = tmp_path / "blemish.toml"
    file.write_text(f"[families]\n{line}\n")
    with pytest.raises(ConfigError, match=words):
        read_config(file)


def test_a_table_and_a_text_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "blemish.toml"
    file.write_text('k = 0.2\n[families]\nrule = "published"\nomega = 0.2\nk_iqr = 4\n')
    assert read_config(file).families == FamilyConfig("published", omega=(0.2,), k_iqr=4)
    file.write_text('families = "published,k_iqr=4.5"\n')
    assert read_config(file).families == FamilyConfig("published", k_iqr=4.5)


@pytest.mark.parametrize("text", ["auto", "off", "published,omega=0.2,weighted=no", "auto,omega=0.1/0.3,seed=5"])
def test_what_is_printed_is_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    def printed(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["blemish", "scan", str(tmp_path), *map(str, arguments), "--print-config"])
        cli.main()
        return capsys.readouterr().out

    monkeypatch.setattr(cli, "main", _without_exit(cli.main))
    first = printed("--families", text)
    file = tmp_path / "blemish.toml"
    file.write_text(first)
    assert read_config(file).families == FamilyConfig.parse(text)
    assert printed("--config", file) == first
    assert FamilyConfig.parse("published") == read_config_of(printed("--config", file, "--families", "published"), file)


def read_config_of(text: str, file: Path) -> FamilyConfig:
    file.write_text(text)
    return read_config(file).families


def _without_exit(main: Any) -> Any:
    def run() -> None:
        try:
            main()
        except SystemExit as stop:
            assert not stop.code

    return run


def test_the_manifest_of_a_run_gives_the_same_config() -> None:
    config = ScanConfig(families=FamilyConfig("published", omega=(0.2,)))
    assert ScanConfig().updated(families=config.as_dict()["families"]).families == config.families
