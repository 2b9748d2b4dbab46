"""Learners that are right, one of each kind, and learners with one planted fault each."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metashot import generator
from metashot.episodes import EpisodeBatch, Examples
from metashot.learners import FeatureLearner, Learner, LearnerTags, Predictor, ProtoNet


def class_means(x: Tensor, y: Tensor, ways: int) -> Tensor:
    """(s, d) -> (ways, d)."""
    return torch.stack([x[y == c].mean(0) for c in range(ways)])


def distances(x: Tensor, means: Tensor) -> Tensor:
    """Logits (q, ways) of features (q, d), whatever their company."""
    return -(x[:, None] - means).square().sum(-1)


# --- learners that are right


class NearestMean(Learner):
    """Nothing is trained."""

    def tags(self) -> LearnerTags:
        return LearnerTags(trainable=False)

    def adapt(self, support: Examples, ways: int) -> Predictor:
        means = class_means(support.x.flatten(1), support.y, ways)
        return lambda x: distances(x.flatten(1), means)


class MetaLearnedInitialisation(Learner):
    """Second-order MAML whose head is meta-learned too."""

    inner_steps, inner_lr = 2, 0.2

    def __init__(self, backbone: nn.Module, *, ways: int = 5) -> None:
        super().__init__()
        self.ways = ways
        self.network = nn.Sequential(backbone, nn.Linear(16, ways))

    def tags(self) -> LearnerTags:
        return LearnerTags(ways=self.ways, label_symmetric=False)

    def adapt(self, support: Examples, ways: int) -> Predictor:
        with torch.enable_grad():
            fast = self._tuned(support)
        return lambda x: functional_call(self.network, fast, (x,))

    def _tuned(self, support: Examples) -> dict[str, Tensor]:
        fast: dict[str, Tensor] = dict(self.network.named_parameters())
        for _ in range(self.inner_steps):
            loss = nn.functional.cross_entropy(functional_call(self.network, fast, (support.x,)), support.y)
            gradients = torch.autograd.grad(loss, list(fast.values()), create_graph=self.training)
            fast = {name: value - self.inner_lr * step for (name, value), step in zip(fast.items(), gradients, strict=True)}
        return fast


class SeededProjection(Learner):
    """Nearest mean in a random projection that the episode's own seed decides."""

    def tags(self) -> LearnerTags:
        return LearnerTags(trainable=False)

    def projection(self, support: Examples) -> Tensor:
        """(64, 24)."""
        return torch.randn(64, 24, generator=generator(support.seed, "projection"), dtype=torch.float64)

    def adapt(self, support: Examples, ways: int) -> Predictor:
        projection = self.projection(support).to(support.x)
        means = class_means(support.x.flatten(1) @ projection, support.y, ways)
        return lambda x: distances(x.flatten(1) @ projection, means)


class StochasticProjection(SeededProjection):
    """The same from torch's global generator."""

    def tags(self) -> LearnerTags:
        return LearnerTags(trainable=False, stochastic=True)

    def projection(self, support: Examples) -> Tensor:
        return torch.randn(64, 24, dtype=torch.float64)


class CentredByBase(FeatureLearner):
    """Nearest mean after subtracting the training classes' mean feature; refuses to answer before it has that."""

    base_mean: Tensor

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(backbone)
        self.register_buffer("base_mean", torch.full((16,), torch.nan))

    def tags(self) -> LearnerTags:
        return LearnerTags(trainable=False)

    def fit_base(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        assert not self.training
        means = [self.embed(x).mean(0) for x, _ in batches]
        assert len(means) == len(list(batches))  # re-iterable
        self.base_mean.copy_(torch.stack(means).mean(0))

    def adapt_features(self, z: Examples, ways: int) -> Predictor:
        assert not self.base_mean.isnan().any()
        unit = nn.functional.normalize(z.x - self.base_mean, dim=-1)
        means = torch.stack([class_means(each, y, ways) for each, y in zip(unit, z.y, strict=True)])  # (B, ways, d)
        return lambda q: (
            -torch.cdist(nn.functional.normalize(q - self.base_mean, dim=-1), means, compute_mode="donot_use_mm_for_euclid_dist")
        )


# --- one planted fault each


class WithBackbone(Learner):
    """Nearest mean of the backbone's features."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.backbone(x)
        return features

    def adapt(self, support: Examples, ways: int) -> Predictor:
        means = class_means(self.features(support.x), support.y, ways)
        return lambda x: distances(self.features(x), means)


class SaysNothingOfTransduction(ProtoNet):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(backbone, batch_norm="transductive")

    def tags(self) -> LearnerTags:
        return LearnerTags()


class UnknownBatchNorm(NearestMean):
    batch_norm = "batch"


class DropsColumns(NearestMean):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        inner = super().adapt(support, ways)
        return lambda x: inner(x)[:, :2]


class Decides(NearestMean):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        inner = super().adapt(support, ways)
        return lambda x: nn.functional.one_hot(inner(x).argmax(1), ways)


class DividesByZero(NearestMean):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        spread = torch.stack([support.x[support.y == c].std(0, correction=0).mean() for c in range(ways)])  # 0 with one shot
        inner = super().adapt(support, ways)
        return lambda x: inner(x) / spread


class Raises(NearestMean):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        raise ZeroDivisionError("no such class")


class ForgetsEnableGrad(MetaLearnedInitialisation):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        fast = self._tuned(support)
        return lambda x: functional_call(self.network, fast, (x,))


class DriftsPerCall(NearestMean):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        means = class_means(support.x.flatten(1), support.y, ways)

        def predict(x: Tensor) -> Tensor:
            means.mul_(0.9).add_(0.1 * x.flatten(1).mean(0))
            return distances(x.flatten(1), means)

        return predict


class KeepsStateOnModule(WithBackbone):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        self.means = class_means(self.features(support.x), support.y, ways)
        return lambda x: distances(self.features(x), self.means)


class CentresAcrossEpisodes(ProtoNet):
    def adapt_features(self, z: Examples, ways: int) -> Predictor:
        inner = super().adapt_features(Examples(z.x / (1 + z.x.abs().mean()), z.y, z.seed), ways)
        return lambda q: inner(q / (1 + z.x.abs().mean()))


class MixesEpisodes(NearestMean):
    def predict(self, support: Examples, query_x: Tensor, ways: int) -> Tensor:
        logits = super().predict(support, query_x, ways)  # (B, q, ways)
        return logits.transpose(0, 1).reshape(logits.shape)


class NormalisesOutsideFeatures(ProtoNet):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        inner = super().adapt(support, ways)
        return lambda x: 0.5 * inner(x)


class CachesWhatDependsOnCompany(ProtoNet):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(backbone, batch_norm="transductive")

    @property
    def cacheable(self) -> bool:
        return True


class EmbedsInCompany(ProtoNet):
    def embed(self, x: Tensor) -> Tensor:
        z = super().embed(x)
        return z - z.mean(0)


class TrainModeBatchNorm(WithBackbone):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        self.backbone.train()
        return super().adapt(support, ways)


class TunesInPlace(WithBackbone):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        parameters = list(self.backbone.parameters())
        with torch.enable_grad():
            gradients = torch.autograd.grad(self.features(support.x).square().mean(), parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient)
        return super().adapt(support, ways)


class Freezes(WithBackbone):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        self.backbone.requires_grad_(False)
        return super().adapt(support, ways)


class NormalisesInPlace(NearestMean):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        support.x.sub_(support.x.mean(0))
        return super().adapt(support, ways)


class DropoutOn(WithBackbone):
    def features(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(super().features(x), 0.1, training=True)


class ShufflesWithNumpy(NearestMean):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        import numpy as np

        np.random.permutation(3)
        return super().adapt(support, ways)


class AssumesSortedSupport(NearestMean):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        x = support.x.flatten(1)
        means = x.reshape(ways, -1, x.shape[1]).mean(1)
        return lambda q: distances(q.flatten(1), means)


class PrefersFirstClass(NearestMean):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        inner = super().adapt(support, ways)
        return lambda x: inner(x) + 0.1 * (torch.arange(ways) == 0)


class HiddenTransduction(WithBackbone):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        z = self.features(support.x)
        means = class_means(z - z.mean(0), support.y, ways)

        def predict(x: Tensor) -> Tensor:
            features = self.features(x)
            return distances(features - features.mean(0), means)

        return predict


class UnregisteredTensor(WithBackbone):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(backbone)
        self.unit = torch.ones(16)

    def features(self, x: Tensor) -> Tensor:
        return super().features(x).to(self.unit.dtype)


class MakesSinglePrecision(WithBackbone):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        inner = super().adapt(support, ways)
        return lambda x: torch.zeros(len(x), ways) + inner(x).float()


class StateOutsideStateDict(WithBackbone):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(backbone)
        self.scales = [torch.linspace(0.5, 2, 16)]

    def features(self, x: Tensor) -> Tensor:
        return super().features(x) * self.scales[0]


class ForgetfulBuffer(WithBackbone):
    scale: Tensor

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(backbone)
        self.register_buffer("scale", torch.linspace(0.5, 2, 16), persistent=False)

    def features(self, x: Tensor) -> Tensor:
        return super().features(x) * self.scale


class UnusedParameter(WithBackbone):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(backbone)
        self.spare = nn.Linear(2, 2)


class DetachesLoss(WithBackbone):
    def meta_loss(self, batch: EpisodeBatch) -> Tensor:
        return super().meta_loss(batch).detach()


class LossPerEpisode(WithBackbone):
    def meta_loss(self, batch: EpisodeBatch) -> Tensor:
        return super().meta_loss(batch)[None]


class TaggedTrainable(NearestMean):
    def tags(self) -> LearnerTags:
        return LearnerTags()


class LearnsNothing(NearestMean):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        return lambda x: x.new_zeros(len(x), ways)


class ForgetsTheMinus(WithBackbone):
    """Distances for logits; meta-training cannot mend that."""

    def adapt(self, support: Examples, ways: int) -> Predictor:
        inner = super().adapt(support, ways)
        return lambda x: -inner(x)

    def meta_loss(self, batch: EpisodeBatch) -> Tensor:
        logits = -self.predict(batch.support, batch.query.x, batch.ways)
        return nn.functional.cross_entropy(logits.flatten(0, 1), batch.query.y.flatten())
