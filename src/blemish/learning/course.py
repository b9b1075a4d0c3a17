"""All that changes while a prompt model is trained: weights, Adam's moments, their average, the best so far.

It knows tensors and how to leave and take up a training between two epochs; nothing of photos or losses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from blemish.errors import RunError
from blemish.learning.checkpoint import Epoch, State
from blemish.learning.prompt_view import PromptModel

__all__ = ["Course", "best"]

STEP = "step"  # kept by Adam for each tensor
MOMENTS = {"first": "exp_avg", "second": "exp_avg_sq"}  # ours and torch's names
WARM = 10  # the average begins with the last few steps, and reaches further as there are more than this


class Course:
    """Of a copy of ``model``. ``rate`` and ``betas``: Adam's; ``average``: decay a step of the average that then is the
    model, 0 for none."""

    def __init__(self, model: PromptModel, rate: float, betas: tuple[float, float], average: float) -> None:
        learned = {name: nn.Parameter(one.detach().clone()) for name, one in model.learned.items()}
        self.model = replace(model, learned=learned)
        self.history: list[Epoch] = []
        self._steps, self._decay = 0, average
        self._adam = torch.optim.Adam(learned.values(), lr=rate, betas=betas)
        self._average = _copies(learned) if average else {}
        self._best = _copies(learned)

    @property
    def device(self) -> torch.device:
        return next(iter(self.model.learned.values())).device

    @property
    def judged(self) -> PromptModel:
        """The model as it would be kept now."""
        return self._with(self._average) if self._average else self.model

    @property
    def result(self) -> PromptModel:
        return self._with(self._best)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors of ``state``."""
        return {name: tuple(tensor.shape) for name, tensor in self.state.tensors.items()}

    @property
    def state(self) -> State:
        tensors: dict[str, Tensor] = {}
        for name, one in self.model.learned.items():
            kept = self._adam.state.get(one, {})
            moments = {f"{ours}.{name}": kept.get(theirs, torch.zeros_like(one)) for ours, theirs in MOMENTS.items()}
            tensors |= {f"learned.{name}": one, f"best.{name}": self._best[name], **moments}
        tensors |= {f"average.{name}": one for name, one in self._average.items()}
        return State(tuple(self.history), self._steps, tensors)

    @torch.no_grad()
    def restore(self, state: State) -> None:
        self.history, self._steps = list(state.history), state.steps
        adam = self._adam.state_dict()
        for at, (name, one) in enumerate(self.model.learned.items()):
            one.copy_(state.tensors[f"learned.{name}"])
            self._best[name].copy_(state.tensors[f"best.{name}"])
            moments = {theirs: state.tensors[f"{ours}.{name}"] for ours, theirs in MOMENTS.items()}
            adam["state"][at] = {STEP: torch.tensor(float(state.steps)), **moments}
        for name, average in self._average.items():
            average.copy_(state.tensors[f"average.{name}"])
        self._adam.load_state_dict(adam)

    def step(self, loss: Tensor) -> None:
        """Down the gradient of ``loss``, a scalar."""
        self._adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (WARM + self._steps))
        for name, average in self._average.items():
            average.lerp_(self.model.learned[name].detach(), 1 - decay)

    def close(self, epoch: Epoch) -> None:
        """An epoch is over. Its weights are the best ones if its held-out loss is the lowest, or there is none. Raises
        ``RunError`` if some are no numbers, which the loss tells only a step later."""
        if not all(bool(torch.isfinite(one).all()) for one in self.model.learned.values()):
            raise RunError(f"Weights became infinite or no numbers in epoch {epoch.number}. Train with a lower rate.")
        self.history.append(epoch)
        if best(self.history) is epoch:
            self._best = _copies(self.judged.learned)

    def _with(self, weights: Mapping[str, Tensor]) -> PromptModel:
        return replace(self.model, learned={name: nn.Parameter(one.clone()) for name, one in weights.items()})


def best(history: Sequence[Epoch]) -> Epoch:
    """The last epoch, or the one with the lowest held-out loss, the first of several."""
    return min(history, key=lambda epoch: -epoch.number if epoch.held_out is None else epoch.held_out)


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
