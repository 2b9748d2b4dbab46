"""What fine-tuning leaves behind: a classifier, and what was trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..functional import Statistics, normalised

BatchNorm = Literal["running", "support", "transductive"]


@dataclass(frozen=True)
class Phase:
    """What one phase of fine-tuning did.

    Attributes:
        trained: names of the layer groups that moved, the earliest first; the last is the head.
        frozen: names of those that did not.
        rates: group -> learning rate, as the optimiser had it.
        epochs: passes over the support set.
        losses: mean cross-entropy of each step, before the step.
    """

    trained: tuple[str, ...]
    frozen: tuple[str, ...]
    rates: Mapping[str, float]
    epochs: int
    losses: tuple[float, ...]


class UnitLength(nn.Module):
    """Features (n, d) brought to length 1; zeros stay zeros."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, d) -> (n, d)."""
        return nn.functional.normalize(x, dim=-1)


class FineTuned(nn.Module):
    """A fine-tuned classifier: (q, *item) -> (q, ways).

    Args:
        network: backbone, flatten, scaling of features, head; in eval mode and frozen.
        batch_norm: which statistics normalise queries.
        support_x: (s, *item), where those of the support set do.
        report: what each phase did.
    """

    def __init__(self, network: nn.Sequential, batch_norm: BatchNorm, support_x: Tensor | None, report: tuple[Phase, ...]) -> None:
        super().__init__()
        self.network, self.batch_norm, self.report = network, batch_norm, report
        self._statistics: Statistics = {}
        if support_x is not None:
            with torch.no_grad(), normalised(network, "batch", into=self._statistics):
                network(support_x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of queries."""
        if self.batch_norm == "running":
            logits: Tensor = self.network(x)
            return logits
        with normalised(self.network, self._statistics if self.batch_norm == "support" else "batch"):
            logits = self.network(x)
        return logits

    def __str__(self) -> str:
        lines = []
        for number, phase in enumerate(self.report, 1):
            rates = ", ".join(f"{name} at {rate:.2g}" for name, rate in phase.rates.items())
            fell = f"; loss {phase.losses[0]:.3f} to {phase.losses[-1]:.3f}" if phase.losses else ""
            frozen = f"; frozen: {', '.join(phase.frozen)}" if phase.frozen else ""
            lines.append(f"phase {number}: {phase.epochs} epochs of {rates}{frozen}{fell}")
        return "\n".join(lines)
