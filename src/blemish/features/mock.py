"""A backbone without a network, so that most tests run in milliseconds: colours and their spread in 8 x 8 cells."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from blemish.features.registry import Features, backbone_facts

__all__ = ["MockBackbone", "load"]


class MockBackbone:
    """Layer 1: mean colour of each cell; layer 2: its spread. Both with a constant channel, so never zero."""

    weights_sha256 = "0" * 64

    def __init__(self, layers: tuple[int, ...], device: torch.device) -> None:
        self.facts = backbone_facts("mock")
        self.layers = layers
        self.device = device

    def extract(self, photos: Tensor) -> Features:
        x = photos.to(self.device).float() / 255
        mean = F.avg_pool2d(x, self.facts.patch)
        spread = (F.avg_pool2d(x * x, self.facts.patch) - mean * mean).clamp(min=0).sqrt()
        by_layer = {1: mean, 2: spread}
        grids = [self._with_constant(by_layer[layer]) for layer in self.layers]
        return Features(grids=grids, embedding=mean.mean(dim=(2, 3)))

    @staticmethod
    def _with_constant(x: Tensor) -> Tensor:
        grid = x.permute(0, 2, 3, 1)
        return torch.cat([grid, torch.full_like(grid[..., :1], 0.5)], dim=-1)


def load(layers: tuple[int, ...], device: torch.device) -> MockBackbone:
    return MockBackbone(layers, device)
