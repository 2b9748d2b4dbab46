"""What a learner is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..episodes import EpisodeBatch, Examples
from ..errors import LearnerError
from ..functional import with_batch_statistics

Predictor = Callable[[Tensor], Tensor]
"""Queries (q, *item) -> logits (q, ways)."""


@dataclass(frozen=True)
class LearnerTags:
    """What callers may assume of a learner.

    Attributes:
        ways: the only number of classes it handles; None for any.
        trainable: has something to meta-train.
        transductive: the queries of an episode influence each other's logits.
        stochastic: draws from the global generator (one that draws from `generator(support.seed, ...)` does not).
        label_symmetric: renaming the classes permutes the logits and changes nothing else.
    """

    ways: int | None = None
    trainable: bool = True
    transductive: bool = False
    stochastic: bool = False
    label_symmetric: bool = True


class Learner(nn.Module, ABC):
    """A few-shot learner: subclasses write `adapt`; everything else has a default.

    What is learned from a support set lives in the predictor that `adapt` returns, never on the module, so two episodes can be
    open at once and evaluation changes nothing. Random numbers come from `metashot.generator(support.seed, purpose)`.

    Attributes:
        batch_norm: which statistics normalise: `running`, `support` or `transductive`; stored with each result.
        meta_step: () int64 buffer, the training step, written by the trainer before each update.
    """

    batch_norm: str = "running"
    meta_step: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("meta_step", torch.zeros((), dtype=torch.int64))

    @abstractmethod
    def adapt(self, support: Examples, ways: int) -> Predictor:
        """Learn from one episode's support set: x (s, *item), y (s,) in [0, ways)."""

    def predict(self, support: Examples, query_x: Tensor, ways: int) -> Tensor:
        """Logits (B, q, ways) for B episodes: support x (B, s, *item), queries (B, q, *item). Default: a loop over `adapt`."""
        return torch.stack([answered(self, support[b], query_x[b], ways) for b in range(len(query_x))])

    def meta_loss(self, batch: EpisodeBatch) -> Tensor:
        """The mean over the batch's episodes of the scalar whose gradient is the meta-update.

        Default: the mean cross-entropy of the queries under `predict`.
        """
        logits = self.predict(batch.support, batch.query.x, batch.ways)  # (B, q, ways)
        return nn.functional.cross_entropy(logits.flatten(0, 1), batch.query.y.flatten())

    def fit_base(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Learn from the training classes once, after training, into buffers. Default: nothing.

        Args:
            batches: re-iterable pairs of x (n, *item) and y (n,).
        """

    def tags(self) -> LearnerTags:
        """What callers may assume. Default: `LearnerTags()`."""
        return LearnerTags()


class FeatureLearner(Learner):
    """A learner that leaves its backbone alone while adapting: subclasses write `adapt_features`.

    The harness embeds each image once and evaluates on the embeddings wherever `cacheable` allows.

    Args:
        backbone: (n, *item) -> (n, *feature), with `feature_shape`.
        batch_norm: in evaluation, `running` normalises by the stored statistics; `transductive` by those of the support set for
            the support set and those of all queries of the episode for the queries. In training each episode is embedded in one pass over
            support and queries together and normalised by its own statistics.

    Raises:
        LearnerError: for another `batch_norm`.
    """

    def __init__(self, backbone: nn.Module, *, batch_norm: str = "running") -> None:
        super().__init__()
        if batch_norm not in ("running", "transductive"):
            raise LearnerError(f"batch_norm of {type(self).__name__} must be 'running' or 'transductive'; got {batch_norm!r}.")
        self.backbone = backbone
        self.batch_norm = batch_norm

    @abstractmethod
    def adapt_features(self, z: Examples, ways: int) -> Predictor:
        """Learn from embedded support sets, always batched: z.x (B, s, *feature) -> a map (B, q, *feature) -> (B, q, ways)."""

    def embed(self, x: Tensor) -> Tensor:
        """Features of items: (n, *item) -> (n, *feature). Default: the backbone."""
        features: Tensor = self.backbone(x)
        return features

    @property
    def cacheable(self) -> bool:
        """Whether an item's embedding does not depend on the items it is embedded with."""
        return self.batch_norm == "running"

    def tags(self) -> LearnerTags:
        """Transductive if batch norm is."""
        return LearnerTags(transductive=self.batch_norm == "transductive")

    def adapt(self, support: Examples, ways: int) -> Predictor:
        """One episode: embed the support, then `adapt_features`."""
        features = self._embed_apart(support.x)
        head = self.adapt_features(Examples(features, support.y, support.seed).of_one(), ways)
        return lambda x: head(self._embed_apart(x)[None])[0]

    def predict(self, support: Examples, query_x: Tensor, ways: int) -> Tensor:
        """Logits (B, q, ways); the class's docstring says what is embedded together."""
        count = support.y.shape[1]
        if self.training:
            both = [self.embed(torch.cat([support.x[b], query_x[b]])) for b in range(len(query_x))]
            z_support = torch.stack([z[:count] for z in both])  # (B, s, *feature)
            z_query = torch.stack([z[count:] for z in both])  # (B, q, *feature)
        elif self.cacheable:
            z = self.embed(torch.cat([support.x.flatten(0, 1), query_x.flatten(0, 1)]))
            z_support, z_query = z.split([support.y.numel(), len(z) - support.y.numel()])
            z_support = z_support.unflatten(0, support.y.shape)
            z_query = z_query.unflatten(0, query_x.shape[:2])
        else:
            z_support = torch.stack([self._embed_apart(x) for x in support.x])
            z_query = torch.stack([self._embed_apart(x) for x in query_x])
        return self.adapt_features(Examples(z_support, support.y, support.seed), ways)(z_query)

    def _embed_apart(self, x: Tensor) -> Tensor:
        """Embed items that share statistics with each other only, if batch norm is transductive."""
        if self.cacheable or self.training:
            return self.embed(x)
        return with_batch_statistics(_Embedding(self), x)


def answered(learner: Learner, support: Examples, query_x: Tensor, ways: int) -> Tensor:
    """Logits (q, ways) of one episode by `adapt`, checked.

    Raises:
        LearnerError: if `adapt` gives no predictor, or the predictor no tensor (q, ways).
    """
    name = type(learner).__name__
    predictor: object = learner.adapt(support, ways)
    if not callable(predictor):
        raise LearnerError(f"{name}.adapt must return a function of the queries (is a `return` missing?); got {type(predictor).__name__}.")
    logits = predictor(query_x)
    wanted = (len(query_x), ways)
    if not isinstance(logits, Tensor) or logits.shape != wanted:
        found = f"a tensor {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise LearnerError(f"What {name}.adapt returns must answer queries with a tensor (queries, ways) = {wanted}; got {found}.")
    return logits


class _Embedding(nn.Module):
    """A learner's `embed` as a module, so that its buffers can be swapped for a call."""

    def __init__(self, learner: FeatureLearner) -> None:
        super().__init__()
        self.learner = learner
        self.training = learner.training

    def forward(self, x: Tensor) -> Tensor:
        return self.learner.embed(x)
