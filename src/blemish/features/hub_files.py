"""A published model's files: in a local folder or the hub's cache, downloaded into it where they are missing.

It knows file names, the hub, and what the settings and model card beside any model's weights say; nothing of networks.
Only safetensors are found, never pickle. A name is a hub name (``facebook/dinov2-small``) or the path of a folder that
exists; of a hub model, the folder is a snapshot of one commit.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blemish.errors import BackboneError

__all__ = [
    "WEIGHTS_INDEX",
    "Colour",
    "fetch_file",
    "folder_of",
    "is_local",
    "licence",
    "mean_std",
    "patch_side",
    "quiet",
    "read_json",
    "require_extra",
    "sha256",
    "source",
    "weight_files",
]

Colour = tuple[float, float, float]

WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
PATIENCE = 5.0  # seconds that the hub has to answer at all


def require_extra() -> None:
    """Raise ``BackboneError`` unless the extra ``hub`` is installed."""
    try:
        import huggingface_hub  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise BackboneError(
            "Backbones by hub name or model folder need the package transformers. Type: pip install 'blemish[hub]'"
        ) from error


@contextmanager
def quiet(bars: bool = False) -> Iterator[None]:
    """Keep transformers and the hub off the console (except for ``bars``), then restore their settings."""
    import transformers
    from huggingface_hub.utils import logging as hub_logging

    logging: Any = transformers.utils.logging

    levels = logging.get_verbosity(), hub_logging.get_verbosity()
    silence = not bars and logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if silence:
                logging.disable_progress_bar()
            yield
    finally:
        logging.set_verbosity(levels[0])
        hub_logging.set_verbosity(levels[1])
        if silence:
            logging.enable_progress_bar()


def is_local(name: str) -> bool:
    return Path(name).expanduser().is_dir()


def folder_of(name: str) -> Path:
    """The folder with a model's config.json, fetched if it is not here. Raises ``BackboneError`` if there is none."""
    if is_local(name):
        local = Path(name).expanduser()
        if not (local / "config.json").is_file():
            raise BackboneError(
                f"The folder {local} holds no config.json, so it is no model that transformers saved. "
                "Give the folder that does, or a hub name such as facebook/dinov2-small."
            )
        return local
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or "\\" in name:
        raise BackboneError(
            f"There is no folder {name}, and it cannot be a hub name: those look like facebook/dinov2-small."
        )
    config = fetch_file(name, "config.json", None)
    if config is None:
        raise BackboneError(f"The hub's model {name} has no config.json: transformers cannot load it.")
    folder = config.parent
    if not any((folder / file).exists() for file in (WEIGHTS, WEIGHTS_INDEX)):
        fetch_file(name, "preprocessor_config.json", folder.name)  # else it was fetched with the weights
    return folder


def fetch_file(name: str, file: str, commit: str | None, *, bar: bool = False) -> Path | None:
    """One file of a hub model, from the hub's cache or downloaded into it; None if there is no such file.

    ``bar``: show how a download goes on; nothing else is ever printed. Raises ``BackboneError`` if it cannot be had.
    """
    from huggingface_hub import constants, errors, hf_hub_download, hf_hub_url, try_to_load_from_cache

    way_out = (
        f"With access to it, type: hf download {name} (into {constants.HF_HUB_CACHE}; HF_HOME moves that), "
        "or give a local folder with the model instead of its name."
    )
    try:
        found = try_to_load_from_cache(name, file, revision=commit)
        if found is not None:  # a path, or a mark that the hub has said before that there is no such file
            return Path(found) if isinstance(found, str) else None
        with quiet(bars=bar):
            _ask(hf_hub_url(name, file, revision=commit))
            return Path(hf_hub_download(name, file, revision=commit))
    except errors.GatedRepoError as error:
        raise BackboneError(
            f"The model {name} is gated: accept its licence at https://huggingface.co/{name}, type: "
            f"hf auth login, then: hf download {name}"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise BackboneError(f"The hub has no public model called {name}. Check the name. {way_out}") from error
    except (errors.LocalEntryNotFoundError, ConnectionError) as error:
        raise BackboneError(f"{file} of {name} is not here, and the hub cannot be reached. {way_out}") from error
    except errors.EntryNotFoundError:
        return None
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise BackboneError(f"Could not fetch {file} of {name}: {error} {way_out}") from error


def _ask(url: str) -> None:
    """Raise ``ConnectionError`` unless the hub answers, asked once: a download would ask for half a minute."""
    from huggingface_hub import errors, get_hf_file_metadata

    try:
        get_hf_file_metadata(url, timeout=PATIENCE)
    except errors.HfHubHTTPError:
        pass  # an answer, though it says no; the download says so again, and remembers it
    except Exception as error:  # versions of huggingface_hub stand on different packages, with different errors
        raise ConnectionError(str(error)) from error


def weight_files(name: str, folder: Path) -> list[Path]:
    """The model's safetensors files; those of a hub model are downloaded where they are not in its cache.

    Raises ``BackboneError`` if there are none, or not all of them."""
    commit = None if is_local(name) else folder.name

    def file(relative: str) -> Path | None:
        if (folder / relative).is_file():
            return folder / relative
        return fetch_file(name, relative, commit, bar=True) if commit else None

    if whole := file(WEIGHTS):
        return [whole]
    index = file(WEIGHTS_INDEX)
    parts = sorted(set(read_json(index)["weight_map"].values())) if index else []
    found = [path for part in parts if (path := file(part))]
    if not found or len(found) < len(parts):
        raise BackboneError(
            f"{name} has no complete {WEIGHTS}, and blemish opens no pickle files (.bin, .pt). "
            'If it has one, convert it once, if you trust it, and give that folder instead: python -c "from '
            f"transformers import AutoModel as M, AutoProcessor as P; [kind.from_pretrained({name!r})"
            ".save_pretrained('converted') for kind in (M, P)]\""
        )
    return found


def source(name: str, folder: Path) -> str:
    return str(folder) if is_local(name) else f"https://huggingface.co/{name} at commit {folder.name}"


def licence(name: str, folder: Path) -> str:
    """The licence in the model card's header, if the card lies beside the config; it is not downloaded."""
    from huggingface_hub import metadata_load

    card = folder / "README.md"
    header = metadata_load(card) if card.is_file() else None
    if header and header.get("license"):
        return str(header.get("license_name", header["license"]))
    if is_local(name):
        return f"unknown: {folder} has no model card"
    return f"see the model card at https://huggingface.co/{name}"


def mean_std(folder: Path, default: tuple[Colour, Colour]) -> tuple[Colour, Colour]:
    """Of preprocessor_config.json, or the ``default`` where it does not say."""
    path = folder / "preprocessor_config.json"
    said = read_json(path) if path.is_file() else {}
    mean_r, mean_g, mean_b = said.get("image_mean", default[0])
    std_r, std_g, std_b = said.get("image_std", default[1])
    return (mean_r, mean_g, mean_b), (std_r, std_g, std_b)


def patch_side(name: str, patch: Any) -> int:
    """A config's patch size, a number or two. Raises ``BackboneError`` unless patches are square."""
    sides = set(patch) if isinstance(patch, list | tuple) else {patch}
    if len(sides) != 1:
        raise BackboneError(f"{name} has patches of {patch} pixels; only square patches are supported.")
    return int(sides.pop())


def read_json(path: Path) -> dict[str, Any]:
    """Raises ``BackboneError`` for a file that cannot be read or holds no object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackboneError(f"Cannot read {path}: {error}. Fetch the model again.") from error
    if not isinstance(content, dict):
        raise BackboneError(f"{path} does not hold a JSON object. Fetch the model again.")
    return content


def sha256(files: list[Path]) -> str:
    """SHA-256 of the file, or of the files' digests if there are several."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
