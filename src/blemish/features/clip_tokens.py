"""CLIP's tokenizer: text to ids, through the tokenizer files beside a model's weights and ``transformers``.

It knows how CLIP cleans a text before its words are split, and what to do with one that is too long; nothing of towers.
"""

from __future__ import annotations

import html
import importlib
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blemish.errors import BackboneError, ConfigError

__all__ = ["TOKENIZER_FILES", "Tokenizer", "clean", "load_tokenizer"]

TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt")  # the first alone, or both of the others

_QUOTES = {**dict.fromkeys(range(0x2018, 0x201C), "'"), 0x2BC: "'", **dict.fromkeys(range(0x201C, 0x2020), '"')}
# letters joined by typesetters, and the wide and narrow forms of East Asian fonts
_COMPATIBLE = re.compile("[\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3\ufb00-\ufb06\u3000\uff01-\uffef]")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]")


def clean(text: str) -> str:
    """What CLIP's tokenizer does to a text first: HTML entities, typographic characters, blanks, lower case.

    The official code repairs text with the package ftfy. This does the same to ligatures, curly quotes, wide and narrow
    forms and control characters, but guesses no wrongly decoded bytes ("cafÃ©" stays as it is).
    """
    text = html.unescape(html.unescape(text))
    text = _COMPATIBLE.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text).translate(_QUOTES)
    text = unicodedata.normalize("NFC", _CONTROLS.sub("", text))
    return " ".join(text.split()).lower()


class Tokenizer:
    """``splitter`` is transformers' CLIP tokenizer; ``context`` the most tokens a text may have, start and end too."""

    def __init__(self, splitter: Any, context: int) -> None:
        self.context = context
        self.start, self.end = int(splitter.bos_token_id), int(splitter.eos_token_id)
        self._splitter = splitter

    def __call__(self, texts: Sequence[str], truncate: bool = False) -> Tensor:
        """(n, context) int64 on the CPU: start, the text, end, zeros.

        Raises ``ConfigError`` for a text that is too long; ``truncate`` cuts it, the end token coming last.
        """
        ids = torch.zeros(len(texts), self.context, dtype=torch.long)
        if not texts:
            return ids
        split = self._splitter([clean(text) for text in texts], add_special_tokens=False, verbose=False)["input_ids"]
        for row, (text, middle) in enumerate(zip(texts, split, strict=True)):
            if len(middle) + 2 > self.context and not truncate:
                raise ConfigError(
                    f"CLIP reads at most {self.context - 2} tokens of text, about as many short words; "
                    f'"{_shortened(text)}" has {len(middle)}. Shorten the class name or the prompt.'
                )
            found = [self.start, *middle[: self.context - 2], self.end]
            ids[row, : len(found)] = torch.tensor(found)
        return ids


def load_tokenizer(name: str, folder: Path, context: int, vocabulary: int) -> Tokenizer:
    """The tokenizer in a model's folder. Raises ``BackboneError`` if its files are missing, damaged or another model's
    (``vocabulary`` is the number of words that the text tower knows)."""
    if not ((folder / "tokenizer.json").is_file() or all((folder / file).is_file() for file in TOKENIZER_FILES[1:])):
        raise BackboneError(
            f"{name} has weights but no tokenizer: {folder} holds neither tokenizer.json nor vocab.json with "
            f"merges.txt. Copy them from the model it was made of, for example with: "
            f"hf download openai/clip-vit-large-patch14-336 tokenizer.json --local-dir {folder}"
        )
    transformers: Any = importlib.import_module("transformers")

    try:
        splitter = transformers.CLIPTokenizerFast.from_pretrained(folder, local_files_only=True)
        size = len(splitter)
        tokenizer = Tokenizer(splitter, context)
    except Exception as error:  # transformers and tokenizers raise many kinds; all mean that these files do not fit
        raise BackboneError(f"transformers cannot read the tokenizer of {name} in {folder}: {error}") from error
    if size > vocabulary:
        raise BackboneError(
            f"The tokenizer of {name} in {folder} knows {size} tokens, its text tower {vocabulary}: "
            "they are of different models. Fetch the model again."
        )
    return tokenizer


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
