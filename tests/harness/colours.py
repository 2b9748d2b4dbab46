"""Folders of noisy pictures of three colours, which are easily told apart."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TINY = "metashot.testing:tiny_backbone"
COLOURS = {"blue": (20, 20, 220), "green": (20, 200, 20), "red": (220, 20, 20)}
OPTIONS = ["--backbone", TINY, "--size", "16"]
ASKED: dict[str, Any] = {"backbone": TINY, "size": 16}
MEANS = """\
import torch


class Means(torch.nn.Module):
    feature_shape = (3,)

    def __init__(self, item_shape):
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)
        with torch.no_grad():
            self.linear.weight.copy_(4 * torch.eye(3))
            self.linear.bias.fill_(-1.5)

    def forward(self, x):
        return self.linear(x.mean((2, 3)))
"""


def put(file: Path, colour: tuple[int, int, int], number: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number).integers(-20, 21, (20, 24, 3))
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(file)
