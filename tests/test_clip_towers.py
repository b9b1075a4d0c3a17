"""CLIP's towers with random weights: what must hold for any; golden/test_golden_clip.py has published numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from blemish.errors import BackboneError, ConfigError
from blemish.features import clip_vision
from blemish.features.clip_text import TextTower
from blemish.features.clip_tokens import clean
from blemish.features.clip_vision import VisionTower, resize_positions, window_indices


def _filled(tower: Any) -> Any:
    torch.manual_seed(3)
    for parameter in tower.parameters():
        nn.init.normal_(parameter, std=0.3)
    return tower.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def vision() -> VisionTower:
    sizes = {"width": 16, "depth": 4, "heads": 2, "hidden": 32, "patch": 4, "native": 3, "embedding": 8}
    return _filled(VisionTower(**sizes, activation="quick_gelu"))


@pytest.fixture(scope="module")
def text() -> TextTower:
    sizes = {"width": 16, "depth": 4, "heads": 2, "hidden": 32, "context": 12, "vocabulary": 20, "embedding": 8}
    return _filled(TextTower(**sizes, activation="quick_gelu"))


def pixels(height: int, width: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(height * width))


IDS = torch.tensor([[18, 1, 2, 3, 4, 5, 19, 0, 0, 0, 0, 0], [18, 7, 19, 0, 0, 0, 0, 0, 0, 0, 0, 0]])


def test_each_patch_lands_in_its_own_cell(vision: VisionTower) -> None:
    before = pixels(12, 24)
    after = before.clone()
    after[:, :, 4:8, 16:20] += 3  # row 1, column 4 of 3 x 6
    change = (vision.embed(after) - vision.embed(before)).norm(dim=-1)[:, 1:]
    assert (change > 0).nonzero()[:, 1].tolist() == [1 * 6 + 4] * 2


def test_layers_come_in_the_order_asked_for(vision: VisionTower) -> None:
    seen = vision.encode(pixels(8, 16), layers=(4, 1))
    assert seen.grid == (2, 4)
    assert torch.equal(seen.layers[0], seen.last)
    assert seen.layers[1].shape == (2, 1 + 2 * 4, 16)


@pytest.mark.parametrize("blocks", [1, 3, 4])
def test_the_second_path_does_not_touch_the_first(vision: VisionTower, blocks: int) -> None:
    ordinary = vision.encode(pixels(12, 12), layers=(1, 2, 3, 4))
    both = vision.encode(pixels(12, 12), layers=(1, 2, 3, 4), value_value=blocks)
    torch.testing.assert_close(both.last, ordinary.last)
    for layer in range(4):
        assert torch.equal(both.layers[layer], ordinary.layers[layer]) == (layer < 4 - blocks)


def test_the_second_path_takes_no_mlp(vision: VisionTower) -> None:
    """Its difference from one layer to the next is the v-v attention of the ordinary path's tokens, nothing else."""
    ordinary = vision.encode(pixels(12, 12), layers=(2, 3))
    local = vision.encode(pixels(12, 12), layers=(2, 3, 4), value_value=2)
    block: Any = vision.transformer.resblocks[3]
    _, value_value = block.attn.with_value_value(block.ln_1(ordinary.layers[1]))
    torch.testing.assert_close(local.layers[2] - local.layers[1], value_value, rtol=1e-4, atol=1e-5)


def test_a_window_of_everything_is_the_photo(vision: VisionTower) -> None:
    x = pixels(12, 12)
    (windows,) = vision.windows(x, (3,))
    torch.testing.assert_close(windows[:, 0], vision.project(vision.encode(x).last[:, 0]), rtol=1e-4, atol=1e-5)


def test_a_window_sees_nothing_but_itself(vision: VisionTower) -> None:
    before = pixels(12, 20)  # 3 x 5 patches, 2 x 4 windows of 2 x 2
    after = before.clone()
    after[:, :, 8:12, 0:4] += 3  # row 2, column 0: only the window with the top left (1, 0) holds it
    (first,), (second,) = vision.windows(before, (2,)), vision.windows(after, (2,))
    assert (first - second).norm(dim=-1).gt(1e-4).nonzero()[:, 1].tolist() == [1 * 4 + 0] * 2


def test_windows_do_not_depend_on_how_many_fit_in_memory(vision: VisionTower, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = vision.windows(pixels(16, 20), (1, 2, 3))
    monkeypatch.setattr(clip_vision, "WINDOW_TOKENS", 7)
    for one, other in zip(whole, vision.windows(pixels(16, 20), (1, 2, 3)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert [found.shape for found in whole] == [(2, 20, 8), (2, 12, 8), (2, 6, 8)]


def test_window_indices_of_an_oblong_grid() -> None:
    assert window_indices(2, 3, 2).tolist() == [[0, 1, 3, 4], [1, 2, 4, 5]]


@pytest.mark.parametrize("rule", ["antialiased", "bicubic", "bilinear"])
def test_positions_keep_rows_and_columns_apart(rule: Any) -> None:
    across = torch.arange(3.0).repeat(3)  # grows from left to right only
    positions = torch.cat([torch.tensor([-9.0]), across])[:, None]
    resized = resize_positions(positions, 2, 9, rule)
    assert resized[0] == -9
    grid = resized[1:, 0].view(2, 9)
    torch.testing.assert_close(grid[0], grid[1])
    assert grid[0].diff().min() > -0.1
    assert grid[0, 8] - grid[0, 0] > 1.5


def test_what_stands_behind_the_end_changes_nothing(text: TextTower) -> None:
    noise = IDS.clone()
    noise[1, 3:] = 9
    torch.testing.assert_close(text.encode(noise), text.encode(IDS))
    alone = text.encode(IDS[1:, :3])
    torch.testing.assert_close(alone[0], text.encode(IDS)[1], rtol=1e-4, atol=1e-5)


def test_words_in_the_place_of_ids(text: TextTower) -> None:
    assert torch.equal(text.encode_words(text.words(IDS), text.ends(IDS)), text.encode(IDS))


@pytest.mark.parametrize("half", [False, True])
def test_prompts_can_be_learnt(text: TextTower, half: bool) -> None:
    torch.manual_seed(4)
    words = text.words(IDS).clone().requires_grad_(True)
    deep = [torch.randn(2, 16, requires_grad=True) for _ in range(3)]
    text.encode_words(words, text.ends(IDS), deep, half_deep=half).square().sum().backward()
    assert words.grad is not None
    assert words.grad[0, 7:].abs().max() == 0  # behind the end
    assert words.grad[0, :7].abs().sum(dim=-1).min() > 0
    for prompt in deep:
        assert prompt.grad is not None
        assert prompt.grad.abs().sum() > 0
        assert torch.equal(prompt.grad, prompt.grad.half().float()) == half  # gradients pass through float16 too
    assert all(parameter.grad is None for parameter in text.parameters())


def test_a_deep_prompt_longer_than_the_text_still_fits(text: TextTower) -> None:
    short = text.encode_words(text.words(IDS)[1:], text.ends(IDS)[1:], [torch.zeros(5, 16)])
    assert short.shape == (1, 8)


# a call -> what the error must say
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v, t: v.encode(pixels(12, 14)), r"patches of 4 pixels, got 12 x 14\. .*for example 12 x 16"),
        (lambda v, t: v.windows(pixels(2, 12), (1,)), "got 2 x 12.*for example 4 x 12"),
        (lambda v, t: v.encode(pixels(12, 12), layers=(0, 5)), "layers 1 to 4, got 0, 5"),
        (lambda v, t: v.encode(pixels(12, 12), value_value=5), "4 blocks"),
        (lambda v, t: v.windows(pixels(8, 12), (3,)), "3 x 3 patches does not fit a grid of 2 x 3"),
        (lambda v, t: t.encode(torch.full((1, 13), 19)), "texts of 12 tokens, got 13"),
        (lambda v, t: t.encode(torch.zeros(1, 12, dtype=torch.long)), "end-of-text token, 19"),
        (lambda v, t: t.encode_words(t.words(IDS), t.ends(IDS), [torch.zeros(1, 16)] * 4), "at most 3 deep prompts"),
        (lambda v, t: t.encode_words(t.words(IDS), t.ends(IDS), [torch.zeros(12, 16)]), "12 tokens do not fit"),
    ],
)
def test_what_cannot_be(call: Any, message: str, vision: VisionTower, text: TextTower) -> None:
    with pytest.raises(ConfigError, match=message):
        call(vision, text)


def test_state_dict_of_something_else(vision: VisionTower, text: TextTower) -> None:
    state = vision.state_dict()
    with pytest.raises(BackboneError, match=r"CLIP text tower: 'token_embedding\.weight' is missing"):
        TextTower.from_state(state, heads=2, activation="gelu")
    with pytest.raises(BackboneError, match=r"CLIP vision tower: .*Unexpected key.*surprise"):
        VisionTower.from_state(state | {"surprise": torch.zeros(1)}, heads=2, activation="gelu")
    with pytest.raises(BackboneError, match="16 channels cannot have 3 heads"):
        VisionTower.from_state(state, heads=3, activation="gelu")
    again = VisionTower.from_state(state, heads=2, activation="quick_gelu")
    assert torch.equal(again.encode(pixels(8, 8)).last, vision.encode(pixels(8, 8)).last)


# as typed -> as CLIP reads it
@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("  Metal \t Nut\n", "metal nut"),
        ("M&amp;M &lt;b&gt; &amp;amp;", "m&m <b> &"),  # entities, twice
        ("\ufb01ne \u201cquotes\u201d, it\u2019s", 'fine "quotes", it\'s'),  # ligature, curly quotes
        ("\uff23\uff21\uff30\u3000\uff11", "cap 1"),  # wide letters, wide blank
        ("cafe\u0301", "caf\u00e9"),  # one character for a letter with its accent
        ("\ufeffnut\x00\x07", "nut"),  # byte order mark, control characters
        ("metal_nut \U0001f642", "metal_nut \U0001f642"),  # nothing else is touched
    ],
)
def test_cleaning(typed: str, read: str) -> None:
    assert clean(typed) == read
