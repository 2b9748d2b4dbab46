"""What gradient-based learners share: a backbone with a head, adapted by gradient steps on the support set."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..episodes import EpisodeBatch, Examples
from ..errors import LearnerError
from ..functional import Loss, Source, Statistics, Weights, inner_loop, normalised
from .base import Learner, LearnerTags, Predictor

BatchNorm = Literal["running", "support", "transductive"]
Engine = Literal["auto", "loop", "vmap"]
HeadStart = Literal["torch", "normal"]
Precision = Literal["float32", "bfloat16"]

HEAD = ("2.weight", "2.bias")  # (ways, d) and (ways,): the head's weights among those of `network`

_AT_ONCE = {"cpu": 1 << 23}  # bytes of items that vmap takes at once: beyond what a cache holds it gains nothing and costs memory
_AT_ONCE_ELSEWHERE = 1 << 29
_SMALL = 1 << 15  # bytes of one support set up to which vmap is the faster engine on a CPU (benchmarks/speed/engines.py)


class GradientLearner(Learner):
    """A learner that adapts copies of its weights by gradient descent on the support set's mean cross-entropy.

    The inner loop is a function of the weights: nothing on the module changes, second-order gradients flow through it, and two
    episodes may be open at once. Subclasses say how fast each weight moves (`rate`) and, where that is their idea, which ones do
    (`moves`), where they start (`start`), whether rates are learned (`learned_rate`), what a step sees (`order`) and how it is taken
    (`descend`).

    Args:
        backbone: (n, *item) -> (n, *feature), with `feature_shape`; a linear head on its flattened features is added.
        ways: number of classes; the head has that many rows. None for a learner whose `start` makes the head for each support set.
        inner_lr: α, the learning rate of the inner loop, for a mean loss; where rates are learned, the one they start at.
        inner_steps: gradient steps in training.
        test_steps: gradient steps in evaluation; as in training if None.
        first_order: take the inner gradients for constants in the meta-gradient.
        batch_norm: `running`: stored statistics in both passes; after each training step they move towards those of one extra pass of the
            meta-batch with the initial weights. `support`: the support's in both passes, under the same adapted weights. `transductive`:
            the support's for the support, those of all queries of the episode together for the queries.
        adapt_norm: whether the inner loop moves scales and shifts of batch norms too.
        head_start: the head starts as `torch` has it, or `normal`: weights of standard deviation 1, biases 0. With `running` a normal head
            makes steps so large that training ends at chance.
        precision: `float32`, or `bfloat16`: convolutions and products under autocast, batch norms and loss in float32; with the loop.
        channels_last: keep convolutions in the channels-last memory format; with the loop only.
        engine: `loop` over episodes, or `vmap`: all episodes of a batch at once, as far as memory allows; equal but for rounding. `auto` is
            the faster one where it was measured: `loop` on a CPU for support sets beyond 32 KiB, `vmap` elsewhere; or `loop` where an
            option needs it. A backbone that vmap cannot take needs `loop`.

    Raises:
        LearnerError: if an argument is out of its range, or the backbone has no `feature_shape`.

    Attributes:
        meta_learns_head: whether the head's rows are meta-learned; otherwise `start` makes them.
    """

    meta_learns_head: ClassVar[bool] = True

    def __init__(
        self,
        backbone: nn.Module,
        *,
        ways: int | None,
        inner_lr: float = 0.05,
        inner_steps: int = 5,
        test_steps: int | None = None,
        first_order: bool = False,
        batch_norm: BatchNorm = "running",
        adapt_norm: bool = True,
        head_start: HeadStart = "torch",
        precision: Precision = "float32",
        channels_last: bool = False,
        engine: Engine = "auto",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        chosen = {
            "batch_norm": (batch_norm, BatchNorm),
            "engine": (engine, Engine),
            "head_start": (head_start, HeadStart),
            "precision": (precision, Precision),
        }
        for option, (value, choices) in chosen.items():
            if value not in get_args(choices):
                raise LearnerError(f"{option} of {name} must be one of {', '.join(get_args(choices))}; got {value!r}.")
        if self.meta_learns_head and (not isinstance(ways, int) or ways < 2):
            raise LearnerError(f"{name} has a head of fixed size and needs one number of ways, at least 2; got {ways}.")
        if inner_steps < 1 or (test_steps is not None and test_steps < 1):
            raise LearnerError(f"{name} needs at least one inner step; got inner_steps={inner_steps}, test_steps={test_steps}.")
        if not inner_lr > 0:
            raise LearnerError(f"inner_lr of {name} must be positive; got {inner_lr}.")
        if engine == "vmap" and channels_last:
            raise LearnerError(f"channels_last of {name} needs engine='loop': under vmap each episode has its own weights in one tensor.")
        if engine == "vmap" and precision != "float32":
            raise LearnerError(f"precision={precision!r} of {name} needs engine='loop': under vmap autocast reaches some operations only.")
        feature_shape = getattr(backbone, "feature_shape", None)
        if feature_shape is None:
            raise LearnerError(f"{name} adds a head, so its backbone must say the shape of one item's features: feature_shape.")
        self.network = nn.Sequential(backbone, nn.Flatten())
        if ways is not None:
            self.network.append(nn.Linear(prod(feature_shape), ways))
            if head_start == "normal":
                nn.init.normal_(self.head.weight)
                nn.init.zeros_(self.head.bias)
        if channels_last:
            self.network.to(memory_format=torch.channels_last)
        self.ways, self.inner_lr, self.inner_steps, self.test_steps = ways, inner_lr, inner_steps, test_steps or inner_steps
        self.first_order, self.batch_norm, self.engine, self.precision = first_order, batch_norm, engine, precision
        self.channels_last = channels_last
        norms = [name for name, layer in self.network.named_modules() if isinstance(layer, _BatchNorm)]
        held = () if adapt_norm else tuple(f"{name}." for name in norms)
        weights = {name: weight for name, weight in self.network.named_parameters() if weight.requires_grad}
        # Decided now, so that freezing a parameter later does not go unnoticed in the middle of a training.
        self._moved = frozenset(
            name for name in (*weights, *(HEAD if ways is None else ())) if self.moves(name) and not name.startswith(held)
        )
        if not self._moved:
            raise LearnerError(f"{name} has no weight that the inner loop may move: all are frozen or held.")
        starts = {name: self.learned_rate(weight) for name, weight in weights.items() if name in self._moved}
        self.rates = nn.ParameterDict({rate_key(name): nn.Parameter(start) for name, start in starts.items() if start is not None})

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

    @property
    def support_source(self) -> Literal["batch", "stored"]:
        """Which statistics normalise the support set."""
        return "stored" if self.batch_norm == "running" else "batch"

    @abstractmethod
    def rate(self, step: int, name: str) -> Tensor | float:
        """The learning rate of weight `name` (of `network`) in inner step `step`, counted from 0."""

    def moves(self, name: str) -> bool:
        """Whether the inner loop changes weight `name` (of `network`). Default: every one that is not frozen."""
        return True

    def start(self, weights: Weights, support: Examples, ways: int) -> Weights:
        """The weights that the inner loop begins with. Default: the learner's own."""
        return weights

    def learned_rate(self, weight: Tensor) -> Tensor | None:
        """Where the learned rate of a weight starts. It is kept and trained in `rates`. Default: None, rates are not learned."""
        return None

    def order(self, support: Examples, steps: int) -> Tensor | None:
        """Which items (steps, batch) int64 of one support set each inner step sees. Default: None, all of them in every step."""
        return None

    def descend(self, loss: Loss, weights: Weights, steps: int) -> Iterator[Weights]:
        """The weights after each inner step. Default: gradient descent by `rate`."""
        return inner_loop(loss, weights, steps=steps, rate=self.rate, first_order=self.first_order)

    def tags(self) -> LearnerTags:
        """A head of its own has one number of ways and a row for each label; transductive if batch norm is."""
        return LearnerTags(ways=self.ways, label_symmetric=self.ways is None, transductive=self.batch_norm == "transductive")

    def adapt(self, support: Examples, ways: int) -> Predictor:
        """The weights after `test_steps` steps (`inner_steps` in train mode) on one support set."""
        self.check_ways(ways)
        steps = self._steps()
        moved = self.last(support, steps, ways, self.order(support, steps))
        return lambda x: self.answers(moved, support.x, x)

    def predict(self, support: Examples, query_x: Tensor, ways: int) -> Tensor:
        """Logits (B, q, ways), by the engine."""
        self.check_ways(ways)
        return self._predicted(support, query_x, ways, self._steps())

    def meta_loss(self, batch: EpisodeBatch) -> Tensor:
        """The mean cross-entropy of the queries after the last inner step."""
        self.check_ways(batch.ways)
        logits = self._predicted(batch.support, batch.query.x, batch.ways, self.inner_steps)  # (B, q, ways)
        self.follow_statistics(batch)
        return nn.functional.cross_entropy(logits.flatten(0, 1), batch.query.y.flatten())

    def trajectory(self, support: Examples, steps: int, ways: int, order: Tensor | None = None) -> Iterator[Weights]:
        """All weights of `network` after each inner step on one support set, whose items come in `order` if there is one."""
        weights = self.start(dict(self.network.named_parameters()), support, ways)
        fixed = {name: weight for name, weight in weights.items() if name not in self._moved}
        moved = {name: weight for name, weight in weights.items() if name in self._moved}

        def loss(now: Weights, step: int) -> Tensor:
            x, y = (support.x, support.y) if order is None else (support.x[order[step]], support.y[order[step]])
            return nn.functional.cross_entropy(self.logits({**fixed, **now}, x, self.support_source), y)

        if order is None and self._moved.issubset(HEAD):  # what is below the head is the same in every step
            features = self.features(fixed, support.x, self.support_source)

            def loss(now: Weights, step: int) -> Tensor:
                return nn.functional.cross_entropy(_headed(features, {**fixed, **now}), support.y)

        for now in self.descend(loss, moved, steps):
            yield {**fixed, **now}

    def features(self, weights: Weights, x: Tensor, source: Source, into: Statistics | None = None) -> Tensor:
        """What the head is given, (n, d), of items under given weights and statistics."""
        body = {name: weight for name, weight in weights.items() if name not in HEAD}
        with normalised(self.network, source, into=into), self._cast(x.device):
            features: Tensor = torch.func.functional_call(self.network[:2], body, (x,), tie_weights=True)
        return features

    def logits(self, weights: Weights, x: Tensor, source: Source, into: Statistics | None = None) -> Tensor:
        """Logits (n, ways) of items under given weights and statistics."""
        return _headed(self.features(weights, x, source, into), weights)

    def answers(self, weights: Weights, support_x: Tensor, x: Tensor) -> Tensor:
        """Logits (q, ways) of queries under adapted weights."""
        if self.batch_norm != "support":
            return self.logits(weights, x, "stored" if self.batch_norm == "running" else "batch")
        statistics: Statistics = {}
        self.features(weights, support_x, "batch", into=statistics)
        return self.logits(weights, x, statistics)

    def over_episodes(self, answer: Callable[..., Tensor], *episodes: Tensor) -> Tensor:
        """`answer` of each of B episodes' parts, the support's items first, stacked, for tensors (B, ...): by a loop, or by vmap.

        Raises:
            LearnerError: if vmap cannot take the backbone.
        """
        if self._loops(episodes[0]):
            return torch.stack([answer(*parts) for parts in zip(*episodes, strict=True)])
        each = sum(part[0].nbytes for part in episodes if part.is_floating_point())
        most = max(1, _AT_ONCE.get(episodes[0].device.type, _AT_ONCE_ELSEWHERE) // each)
        try:
            stacked: Tensor = torch.func.vmap(answer, randomness="different", chunk_size=most)(*episodes)
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            raise LearnerError(f"vmap cannot take this backbone ({error}). Say engine='loop'.") from error
        return stacked

    def orders(self, support: Examples, steps: int) -> tuple[Tensor, ...]:
        """The `order` of each of B episodes, stacked (B, steps, batch), if there is one."""
        orders = [self.order(support[b], steps) for b in range(len(support.x))]
        return (torch.stack([order for order in orders if order is not None]),) if orders and orders[0] is not None else ()

    def follow_statistics(self, batch: EpisodeBatch) -> None:
        """In training with `running`: move the stored statistics towards those of this batch under the initial weights."""
        if self.training and self.batch_norm == "running":
            with torch.no_grad():
                self.network(torch.cat([batch.support.x.flatten(0, 1), batch.query.x.flatten(0, 1)]))

    def _predicted(self, support: Examples, query_x: Tensor, ways: int, steps: int) -> Tensor:
        def answer(x: Tensor, y: Tensor, queries: Tensor, *order: Tensor) -> Tensor:
            return self.answers(self.last(Examples(x, y), steps, ways, *order), x, queries)

        return self.over_episodes(answer, support.x, support.y, query_x, *self.orders(support, steps))

    def last(self, support: Examples, steps: int, ways: int, order: Tensor | None = None) -> Weights:
        *_, last = self.trajectory(support, steps, ways, order)
        return last

    def _steps(self) -> int:
        return self.inner_steps if self.training else self.test_steps

    def _loops(self, support_x: Tensor) -> bool:
        if self.engine != "auto":
            return self.engine == "loop"
        large = support_x.device.type == "cpu" and support_x[0].nbytes > _SMALL
        return large or self.channels_last or self.precision != "float32"

    def _cast(self, device: torch.device) -> torch.autocast:
        # Without its cache, which keeps casts of weights beyond the inner step that they are of.
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16", cache_enabled=False)

    def check_ways(self, ways: int) -> None:
        if self.ways is not None and ways != self.ways:
            raise LearnerError(
                f"This {type(self).__name__} has a head of {self.ways} rows and was asked for {ways} ways. Train one for {ways} ways, or "
                "ask for as many as it has."
            )


def _headed(features: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Logits (n, ways) of features (n, d), in the precision of the head."""
    weight, bias = (weights[name] for name in HEAD)
    return nn.functional.linear(features.to(weight.dtype), weight, bias)


def rate_key(name: str) -> str:
    """A weight's name as torch allows it for a parameter of a dictionary."""
    return name.replace(".", "/")
