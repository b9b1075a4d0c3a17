"""Names of files written per photo."""

from pathlib import Path

import pytest

from blemish.sinks.names import beside


# the photo's path, the suffix, the expected end of the file's path
@pytest.mark.parametrize(
    ("path", "suffix", "expected"),
    [
        ("a.jpg", ".tif", "out/a.jpg.tif"),
        ("sub/a.b.png", ".jpg", "out/sub/a.b.png.jpg"),
        ("x" * 251 + ".png", ".jpg", None),  # 255 bytes: as long as a name may be, and no room for more
        ("ü" * 125 + ".png", ".tif", None),  # 254 bytes, in two-byte characters
    ],
)
def test_beside(tmp_path: Path, path: str, suffix: str, expected: str | None) -> None:
    file = beside(Path("out"), path, suffix)
    if expected is not None:
        assert file == Path(expected)
    assert len(file.name.encode()) <= 255
    assert file.name.endswith(suffix)
    (tmp_path / file.name).write_text("")


def test_two_long_names_stay_two() -> None:
    assert beside(Path(), "x" * 250 + "1.png", ".tif") != beside(Path(), "x" * 250 + "2.png", ".tif")
