"""Files of models from a hub: a small one that this test serves, and one that does not answer; ``blemish fetch``."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from blemish import cli
from blemish.errors import BackboneError
from blemish.features import clip, hub, hub_files
from clip_models import save_as_open_clip, save_clip

transformers = pytest.importorskip("transformers")
huggingface_hub = pytest.importorskip("huggingface_hub")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each repository: CLIPs with words in both formats, a CLIP and a DINOv2 for photos alone, another."""
    root = tmp_path_factory.mktemp("hub")
    model = save_clip(root / "tiny")
    (root / "open-clip").mkdir()
    save_as_open_clip(model, root / "open-clip")
    transformers.CLIPVisionModel(model.config.vision_config).save_pretrained(root / "eyes")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    transformers.Dinov2Model(transformers.Dinov2Config(**sizes)).save_pretrained(root / "dinov2")
    (root / "resnet").mkdir()
    (root / "resnet" / "config.json").write_text('{"model_type": "resnet"}')
    return root


class _Handler(BaseHTTPRequestHandler):
    """The few answers of the hub that a download needs, for acme/NAME/resolve/REVISION/FILE."""

    root: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        owner, name, file = (self.path.strip("/").split("/")[at] for at in (0, 1, -1))
        self.asked.append(f"{self.command} {file}")
        folder, content = self.root / name, b""
        if name == "gated":
            self.send_response(403)
            self.send_header("X-Error-Code", "GatedRepo")
        elif owner != "acme" or not folder.is_dir():
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
        elif not (folder / file).is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
        else:
            content = (folder / file).read_bytes()
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def log_message(self, *_: Any) -> None:
        pass


def _point_at(port: int, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with HF_ENDPOINT and HF_HOME, which are read only once, at import."""
    constants, here = huggingface_hub.constants, f"http://127.0.0.1:{port}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", here + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "ENDPOINT", here)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


@pytest.fixture
def asked(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub that answers; what it has been asked."""
    questions: list[str] = []
    handler = type("Handler", (_Handler,), {"root": saved, "asked": questions})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        _point_at(server.server_port, tmp_path / "cache", monkeypatch)
        yield questions
        server.shutdown()


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub where one is looked for, and a download that nobody may start: it would try again for half a minute."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port  # free again in a moment
    _point_at(port, tmp_path / "cache", monkeypatch)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: pytest.fail("it tries to download"))


def fetch(name: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["blemish", "fetch", name])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


# repository -> the files that are fetched, what it can read
@pytest.mark.parametrize(
    ("name", "files", "reads"),
    [
        ("tiny", {"config.json", "model.safetensors", "vocab.json", "merges.txt"}, "photos and words"),
        (
            "open-clip",
            {"config.json", "open_clip_config.json", "open_clip_model.safetensors", "vocab.json", "merges.txt"},
            "photos and words",
        ),
        ("eyes", {"config.json", "model.safetensors"}, "photos alone"),
        ("dinov2", {"config.json", "model.safetensors"}, "photos alone"),
    ],
)
def test_what_is_fetched_works_offline(
    name: str,
    files: set[str],
    reads: str,
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert fetch(f"acme/{name}", monkeypatch) == 0
    out, _ = capfd.readouterr()
    folder = Path(out.removeprefix("Stored ").split(":")[0])
    assert folder.name == COMMIT
    assert {file.name for file in folder.iterdir()} == files
    assert out.endswith(f": {len(files)} files, 0 MiB; it reads {reads}\n")
    assert {question.split()[1] for question in asked if question.startswith("GET")} >= files
    asked.clear()
    if reads == "photos and words":
        assert clip.load(f"acme/{name}", torch.device("cpu")).embed_texts(["nut"]).shape == (1, 24)
    else:
        hub.load(f"acme/{name}", (1,), torch.device("cpu"))
    assert not asked


# what is typed after fetch -> exit code, words
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("acme/none", "The hub has no public model called acme/none"),
        ("acme/gated", "is gated: accept its licence"),
        ("acme/resnet", "of the kind 'resnet', which blemish cannot use"),
        ("effnet-lite2", "only vit, or a model by its hub name"),
        ("a/b/c", "it cannot be a hub name"),
    ],
)
def test_what_cannot_be_fetched(
    name: str, words: str, asked: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fetch(name, monkeypatch) == 2
    err = capfd.readouterr().err
    assert words in err
    assert "Traceback" not in err


# no network: one line at once, for either format and for a vision tower
@pytest.mark.parametrize(
    "name",
    ["openai/clip-vit-base-patch16", "timm/vit_base_patch16_plus_clip_240.laion400m_e31", "facebook/dinov2-small"],
)
@pytest.mark.usefixtures("nobody")
def test_a_hub_that_does_not_answer(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for call in (lambda: clip.load(name, torch.device("cpu")), lambda: hub.facts(name)):
        with pytest.raises(BackboneError, match=f"hub cannot be reached.*hf download {name} .*local folder"):
            call()
    assert fetch(name, monkeypatch) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"blemish: config.json of {name} is not here")
    assert err.count("\n") == 1


def test_words_of_a_tower_that_only_sees(asked: list[str]) -> None:
    for name in ("acme/eyes", "acme/dinov2"):
        with pytest.raises(BackboneError, match="a vision tower alone, so it cannot read words"):
            clip.load(name, torch.device("cpu"))
    assert "GET model.safetensors" not in asked  # found out before the weights are fetched


def test_hash_of_one_file_and_of_several(tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
        digests.append(hashlib.sha256(name.encode()).hexdigest())
    assert hub_files.sha256([tmp_path / "a"]) == digests[0]
    both = hashlib.sha256("".join(digests).encode()).hexdigest()
    assert hub_files.sha256([tmp_path / "a", tmp_path / "b"]) == both
