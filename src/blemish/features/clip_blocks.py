"""The transformer that both towers of CLIP consist of (Radford et al. 2021): pre-norm blocks, two kinds of GELU.

Modules are nested and named as in OpenAI's and open_clip's state dicts, so that those fit key by key. It knows the
arithmetic of a block, nothing of photos or words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from blemish.errors import BackboneError

__all__ = ["Activation", "Attention", "Block", "Transformer", "filled", "sizes_of"]

Activation = Literal["quick_gelu", "gelu"]
Tower = TypeVar("Tower", bound=nn.Module)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        """``x: (b, n, C)`` -> the same shape; ``causal``: a token sees itself and what is before it."""
        q, k, v = self._qkv(x)
        return self._joined(nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal))

    def with_value_value(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Ordinary attention, and the same weights with the values in the place of queries and keys.

        With v-v attention a token looks at those that say the same as it does, mostly its own region (AnomalyCLIP's
        DPAM, Zhou et al. 2024, after CLIP Surgery, Li et al. 2023).
        """
        q, k, v = self._qkv(x)
        attend = nn.functional.scaled_dot_product_attention
        return self._joined(attend(q, k, v)), self._joined(attend(v, v, v))

    def _qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each (b, heads, n, C / heads)."""
        b, n, width = x.shape
        together = nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = together.view(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return q, k, v

    def _joined(self, y: Tensor) -> Tensor:
        z: Tensor = self.out_proj(y.transpose(1, 2).flatten(2))
        return z


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, hidden)
        self.c_proj = nn.Linear(hidden, width)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        y: Tensor = self.c_proj(x * torch.sigmoid(1.702 * x) if self.activation == "quick_gelu" else _gelu(x))
        return y


def _gelu(x: Tensor) -> Tensor:
    return nn.functional.gelu(x)  # the exact one, not the tanh approximation


class Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, activation: Activation, eps: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width, eps=eps)
        self.mlp = _Mlp(width, hidden, activation)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        x = x + self.attn(self.ln_1(x), causal)
        y: Tensor = x + self.mlp(self.ln_2(x))
        return y

    def dual(self, x: Tensor, local: Tensor) -> tuple[Tensor, Tensor]:
        """One block of DPAM: the ordinary path ``x``, and ``local``, which takes v-v attention from it and no MLP."""
        ordinary, value_value = self.attn.with_value_value(self.ln_1(x))
        x = x + ordinary
        return x + self.mlp(self.ln_2(x)), local + value_value


class Transformer(nn.Module):
    def __init__(self, width: int, depth: int, heads: int, hidden: int, activation: Activation, eps: float) -> None:
        super().__init__()
        if width % heads:
            raise BackboneError(f"A CLIP tower of {width} channels cannot have {heads} heads: {width} must divide.")
        self.resblocks = nn.ModuleList(Block(width, heads, hidden, activation, eps) for _ in range(depth))


def sizes_of(state: Mapping[str, Tensor]) -> dict[str, int]:
    """``depth`` and ``hidden`` of a ``Transformer``, from the state dict of its tower. Raises ``KeyError`` if there is
    no block."""
    prefix = "transformer.resblocks."
    hidden = len(state[f"{prefix}0.mlp.c_fc.weight"])
    return {"depth": 1 + max(int(key.split(".")[2]) for key in state if key.startswith(prefix)), "hidden": hidden}


def filled(build: Callable[[], Tower], state: Mapping[str, Tensor], what: str) -> Tower:
    """The network that ``build`` describes, made of a state dict's tensors: float32, frozen, in evaluation mode.

    Tensors that are float32 already are shared with it. Raises ``BackboneError`` unless each tensor has its place and
    each place its tensor, or if ``build`` misses one (``KeyError``).
    """
    try:
        with torch.device("meta"):  # it takes the tensors of the state dict instead of making its own
            network = build()
        network.load_state_dict({key: tensor.float() for key, tensor in state.items()}, strict=True, assign=True)
    except KeyError as error:
        raise BackboneError(f"These weights are not those of {what}: {error} is missing.") from error
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise BackboneError(f"These weights are not those of {what}: {said[:400]}") from error
    return network.eval().requires_grad_(False)
