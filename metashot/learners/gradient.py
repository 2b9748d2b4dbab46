"""What gradient-based learners share: a backbone with a head, adapted by gradient steps on the support set."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from math import prod
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..episodes import EpisodeBatch, Examples
from ..errors import LearnerError
from ..functional import Statistics, Weights, inner_loop, normalised
from .base import Learner, LearnerTags, Predictor

BatchNorm = Literal["running", "support", "transductive"]
Engine = Literal["auto", "loop", "vmap"]
HeadStart = Literal["torch", "normal"]

_AT_ONCE = {"cpu": 1 << 23}  # bytes of items that vmap takes at once: beyond what a cache holds it gains nothing and costs memory
_AT_ONCE_ELSEWHERE = 1 << 29


class GradientLearner(Learner):
    """A learner that adapts copies of its weights by gradient descent on the support set's cross-entropy.

    The inner loop is a function of the weights: nothing on the module changes, second-order gradients flow through it, and two
    episodes may be open at once. Subclasses say which weights move (`moves`) and how fast (`rate`).

    Args:
        backbone: (n, *item) -> (n, *feature), with `feature_shape`; a linear head on its flattened features is added.
        ways: number of classes; the head has that many rows.
        inner_steps: gradient steps in training.
        test_steps: gradient steps in evaluation; as in training if None.
        first_order: take the inner gradients for constants in the meta-gradient.
        batch_norm: `running`: stored statistics in both passes; after each training step they move towards those of one extra pass of the
            meta-batch with the initial weights. `support`: the support's in both passes, under the same adapted weights. `transductive`:
            the support's for the support, those of all queries of the episode together for the queries.
        adapt_norm: whether the inner loop moves scales and shifts of batch norms too.
        head_start: the head starts as `torch` has it, or `normal`: weights of standard deviation 1, biases 0.
        engine: `loop` over episodes, or `vmap`: all episodes of a batch at once, as far as memory allows; equal but for rounding. `auto` is
            `vmap`, the faster one where it was measured; a backbone that vmap cannot take needs `loop`.

    Raises:
        LearnerError: if an argument is out of its range, or the backbone has no `feature_shape`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        ways: int,
        inner_steps: int,
        test_steps: int | None = None,
        first_order: bool = False,
        batch_norm: BatchNorm = "running",
        adapt_norm: bool = True,
        head_start: HeadStart = "torch",
        engine: Engine = "auto",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        chosen = {"batch_norm": (batch_norm, BatchNorm), "engine": (engine, Engine), "head_start": (head_start, HeadStart)}
        for option, (value, choices) in chosen.items():
            if value not in get_args(choices):
                raise LearnerError(f"{option} of {name} must be one of {', '.join(get_args(choices))}; got {value!r}.")
        if not isinstance(ways, int) or ways < 2:
            raise LearnerError(f"{name} has a head of fixed size and needs one number of ways, at least 2; got {ways}.")
        if inner_steps < 1 or (test_steps is not None and test_steps < 1):
            raise LearnerError(f"{name} needs at least one inner step; got inner_steps={inner_steps}, test_steps={test_steps}.")
        feature_shape = getattr(backbone, "feature_shape", None)
        if feature_shape is None:
            raise LearnerError(f"{name} adds a head, so its backbone must say the shape of one item's features: feature_shape.")
        self.network = nn.Sequential(backbone, nn.Flatten(), nn.Linear(prod(feature_shape), ways))
        self.ways, self.inner_steps, self.test_steps = ways, inner_steps, test_steps or inner_steps
        self.first_order, self.batch_norm, self.engine = first_order, batch_norm, engine
        norms = [name for name, layer in self.network.named_modules() if isinstance(layer, _BatchNorm)]
        held = () if adapt_norm else tuple(f"{name}." for name in norms)
        # Decided now, so that freezing a parameter later does not go unnoticed in the middle of a training.
        self._moved = frozenset(
            name
            for name, weight in self.network.named_parameters()
            if weight.requires_grad and self.moves(name) and not name.startswith(held)
        )
        if not self._moved:
            raise LearnerError(f"{name} has no weight that the inner loop may move: all are frozen or held.")
        if head_start == "normal":
            nn.init.normal_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    @property
    def backbone(self) -> nn.Module:
        """Everything below the head."""
        return self.network[0]

    @property
    def head(self) -> nn.Linear:
        """The last, linear layer."""
        head = self.network[2]
        assert isinstance(head, nn.Linear)
        return head

    @abstractmethod
    def rate(self, step: int, name: str) -> Tensor | float:
        """The learning rate of weight `name` (of `network`) in inner step `step`, counted from 0."""

    def moves(self, name: str) -> bool:
        """Whether the inner loop changes weight `name` (of `network`). Default: every one that is not frozen."""
        return True

    def start(self, weights: Weights, support: Examples) -> Weights:
        """The weights that the inner loop begins with. Default: the learner's own."""
        return weights

    def tags(self) -> LearnerTags:
        """One number of ways; a row of the head for each label; transductive if batch norm is."""
        return LearnerTags(ways=self.ways, label_symmetric=False, transductive=self.batch_norm == "transductive")

    def adapt(self, support: Examples, ways: int) -> Predictor:
        """The weights after `test_steps` steps (`inner_steps` in train mode) on one support set."""
        self._check_ways(ways)
        moved = self._last(support, self._steps())
        return lambda x: self._query(moved, support.x, x)

    def predict(self, support: Examples, query_x: Tensor, ways: int) -> Tensor:
        """Logits (B, q, ways), by the engine."""
        self._check_ways(ways)
        return self.over_episodes(lambda one, x: self._query(self._last(one, self._steps()), one.x, x), support, query_x)

    def meta_loss(self, batch: EpisodeBatch) -> Tensor:
        """The mean cross-entropy of the queries after the last inner step."""
        self._check_ways(batch.ways)
        logits = self.over_episodes(
            lambda one, x: self._query(self._last(one, self.inner_steps), one.x, x), batch.support, batch.query.x
        )  # (B, q, ways)
        self.follow_statistics(batch)
        return nn.functional.cross_entropy(logits.flatten(0, 1), batch.query.y.flatten())

    def trajectory(self, support: Examples, steps: int) -> Iterator[Weights]:
        """All weights of `network` after each inner step on one support set."""
        weights = self.start(dict(self.network.named_parameters()), support)
        fixed = {name: weight for name, weight in weights.items() if name not in self._moved}
        moved = {name: weight for name, weight in weights.items() if name in self._moved}

        def loss(now: Weights) -> Tensor:
            return nn.functional.cross_entropy(self.logits({**fixed, **now}, support.x, self._support_source()), support.y)

        for now in inner_loop(loss, moved, steps=steps, rate=self.rate, first_order=self.first_order):
            yield {**fixed, **now}

    def logits(
        self, weights: Weights, x: Tensor, source: "Literal['batch', 'stored'] | Statistics", into: Statistics | None = None
    ) -> Tensor:
        """Logits (n, ways) of items under given weights and statistics."""
        with normalised(self.network, source, into=into, fused=self.engine == "loop"):
            answers: Tensor = torch.func.functional_call(self.network, weights, (x,), tie_weights=True)
        return answers

    def over_episodes(self, answer: Callable[[Examples, Tensor], Tensor], support: Examples, query_x: Tensor) -> Tensor:
        """`answer(support, queries)` for each of B episodes, stacked: by a loop, or by vmap.

        Raises:
            LearnerError: if vmap cannot take the backbone.
        """
        if self.engine == "loop":
            return torch.stack([answer(support[b], query_x[b]) for b in range(len(query_x))])
        each = support.x[0].nbytes + query_x[0].nbytes
        most = max(1, _AT_ONCE.get(query_x.device.type, _AT_ONCE_ELSEWHERE) // each)
        over = torch.func.vmap(lambda x, y, queries: answer(Examples(x, y), queries), randomness="different", chunk_size=most)
        try:
            stacked: Tensor = over(support.x, support.y, query_x)
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            raise LearnerError(f"vmap cannot take this backbone ({error}). Say engine='loop'.") from error
        return stacked

    def follow_statistics(self, batch: EpisodeBatch) -> None:
        """In training with `running`: move the stored statistics towards those of this batch under the initial weights."""
        if self.training and self.batch_norm == "running":
            with torch.no_grad():
                self.network(torch.cat([batch.support.x.flatten(0, 1), batch.query.x.flatten(0, 1)]))

    def _query(self, weights: Weights, support_x: Tensor, x: Tensor) -> Tensor:
        """Logits of queries (q, ways) under adapted weights."""
        if self.batch_norm != "support":
            return self.logits(weights, x, "stored" if self.batch_norm == "running" else "batch")
        statistics: Statistics = {}
        self.logits(weights, support_x, "batch", into=statistics)
        return self.logits(weights, x, statistics)

    def _last(self, support: Examples, steps: int) -> Weights:
        *_, last = self.trajectory(support, steps)
        return last

    def _steps(self) -> int:
        return self.inner_steps if self.training else self.test_steps

    def _support_source(self) -> Literal["batch", "stored"]:
        return "stored" if self.batch_norm == "running" else "batch"

    def _check_ways(self, ways: int) -> None:
        if ways != self.ways:
            raise LearnerError(
                f"This {type(self).__name__} has a head of {self.ways} rows and was asked for {ways} ways. Train one for {ways} ways, or "
                "ask for as many as it has."
            )
