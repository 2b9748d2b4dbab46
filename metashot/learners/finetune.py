"""Fine-tuning: go on training a trained network, on the support set."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..episodes import Examples
from ..errors import LearnerError
from ..functional import Change, augmented, normalised, prototype_linear, random_linear
from ..seeding import generator
from .base import Learner, LearnerTags
from .finetune_settings import Features, HeadStart, OptimiserName, Start, Statistics, check_choices, check_numbers, check_phases, factors_of
from .finetuned import BatchNorm, FineTuned, Phase, UnitLength
from .fresh_weights import forget
from .layer_groups import LayerGroup, group_of, layer_groups
from .support_sets import check_support

HEAD = "head"
_AT_ONCE = 256  # items embedded at once where the backbone is frozen
_LEAST = 1e-12  # spread of class means: equal ones give equal logits, not infinite ones


class FineTune(Learner):
    """Goes on training a copy of its backbone, with a new linear head, on the support set: the head first, then more and more layers.

    Training runs in phases. In each, the head and the last few groups of layers move, and all others are frozen: their weights and
    running statistics keep their bits. Earlier groups move more slowly. The learner itself never changes: the predictor holds the copy,
    and its `report` tells what was trained, how fast, and how the loss fell.

    Every random number comes from the episode's seed, so the same episode gives the same classifier. Dropout stays off.

    Args:
        backbone: (n, *item) -> (n, *feature), usually trained; a linear head on its flattened features is added.
        start: `trained`: with the backbone's weights. `scratch`: with fresh ones, for comparison.
        unfreeze: for each phase, how many of the last groups of the backbone move; 0 is the head alone, -1 all.
        epochs: for each phase, how often it goes through the support set.
        groups: how many groups the backbone's layers make, or lists of name prefixes, the earliest group first; what they do not name is
            one more group before them.
        lr: learning rate of the head.
        lr_factor: the last group learns at `lr` times this, the one before at that times this again, and so on; or one factor of `lr` for
            each group, the earliest first.
        optimiser: `adam` (with decoupled weight decay) or `sgd`.
        momentum: of `sgd`.
        weight_decay: of all that moves.
        batch_size: items a step at most; the support set is cut into equal parts. A smaller support set is taken whole.
        augment: small random changes of the support pictures, in every step: any of `flip`, `shift`, `zoom`,
            `crop`, `jitter`.
        head_start: `prototypes`: the head begins as the nearest-mean rule on the backbone's features, its squared distances divided by the
            class means' mean squared distance from their centre; `random`, as PyTorch begins; `zero`.
        features: `unit`: the head gets features of length 1, for which class means are better starts; `raw`: as the backbone gives them.
        batch_norm: `running`: stored statistics. `support`: in training those of the mini-batch, for queries those of the support set
            under the final weights. `transductive`: in training those of the mini-batch, for queries their own.
        statistics: with `running`, whether stored statistics are `frozen`, or `moving`: in groups that train, the mini-batch normalises,
            and the copy's statistics follow it.

    Raises:
        LearnerError: if an argument is out of its range, or two do not fit each other.

    Reference: Howard and Ruder 2018, "Universal Language Model Fine-tuning for Text Classification", arXiv:1801.06146, sections 3.2
    (rates by layer, a factor of 2.6 from one to the next) and 3.3 (unfreezing from the last layer on); the baseline of Chen et al. 2019,
    "A Closer Look at Few-shot Classification", arXiv:1904.04232, section 3.2, is the head alone.

    Departure: phases of fixed length with constant rates, in place of slanted triangular ones and one layer an epoch.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        start: Start = "trained",
        unfreeze: tuple[int, ...] = (0, 1, -1),
        epochs: tuple[int, ...] = (10, 5, 5),
        groups: int | tuple[tuple[str, ...], ...] = 3,
        lr: float = 0.001,
        lr_factor: float | tuple[float, ...] = 0.3,
        optimiser: OptimiserName = "adam",
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        batch_size: int = 32,
        augment: tuple[Change, ...] = (),
        head_start: HeadStart = "prototypes",
        features: Features = "unit",
        batch_norm: BatchNorm = "running",
        statistics: Statistics = "frozen",
    ) -> None:
        super().__init__()
        check_choices(
            {
                "start": start,
                "optimiser": optimiser,
                "head_start": head_start,
                "features": features,
                "batch_norm": batch_norm,
                "statistics": statistics,
            },
            augment,
        )
        check_phases(unfreeze, epochs)
        check_numbers(lr=lr, batch_size=batch_size, weight_decay=weight_decay, momentum=momentum)
        if not isinstance(backbone, nn.Module):
            raise LearnerError(f"backbone of FineTune is a torch.nn.Module; got {backbone!r}.")
        self.backbone = backbone
        self.groups = layer_groups(backbone, groups)
        """The backbone's layers, the earliest group first."""
        if min(unfreeze) < -1 or max(unfreeze) > len(self.groups):
            raise LearnerError(
                f"unfreeze must lie in 0 .. {len(self.groups)}, the groups of this backbone, or be -1 for all; got {list(unfreeze)}."
            )
        self.factors = factors_of(lr_factor, len(self.groups))
        self.start, self.unfreeze, self.epochs, self.lr = start, tuple(unfreeze), tuple(epochs), lr
        self.optimiser, self.momentum, self.weight_decay, self.batch_size = optimiser, momentum, weight_decay, batch_size
        self.augment, self.head_start, self.statistics = tuple(augment), head_start, statistics
        self.features = features
        self._normalise: BatchNorm = batch_norm
        self.batch_norm = batch_norm

    def tags(self) -> LearnerTags:
        """Nothing to meta-train; a random head knows its rows apart; transductive if batch norm is."""
        return LearnerTags(trainable=False, label_symmetric=self.head_start != "random", transductive=self.batch_norm == "transductive")

    def adapt(self, support: Examples, ways: int) -> FineTuned:
        """Train a copy on one support set: x (s, *item), y (s,).

        Raises:
            LearnerError: if pictures are to be changed and the items are none; if the support set is empty, or has labels beyond `ways` or
                a class without items.
        """
        check_support(support, ways)
        if self.augment and support.x.ndim != 4:
            raise LearnerError(f"augment changes pictures (channels, height, width); these items have shape {tuple(support.x.shape[1:])}.")
        backbone = deepcopy(self.backbone).requires_grad_(False).eval()
        if self.start == "scratch":
            forget(backbone.cpu(), int(support.seed))  # on the CPU, so that it is the same for every device
            backbone.to(support.x.device)
        with torch.no_grad():
            scaling = self._scaling()
            head = self._head(scaling(self._features(backbone, support.x)), support, ways)
        network = nn.Sequential(backbone, nn.Flatten(), scaling, head)
        optimiser = self.make_optimiser(network)
        report: list[Phase] = []
        with torch.enable_grad():  # evaluation turns gradients off
            for phase in range(len(self.epochs)):
                report.append(self._train(network, optimiser, support, phase))
        network.requires_grad_(False).zero_grad(set_to_none=True)
        return FineTuned(network.eval(), self._normalise, support.x if self.batch_norm == "support" else None, tuple(report))

    def restored(self, weights: Mapping[str, Tensor], support: Examples, ways: int) -> FineTuned:
        """What `adapt` returned once, from the weights of its `network`; without a report.

        Raises:
            LearnerError: if they belong to another network.
        """
        backbone = deepcopy(self.backbone)
        inputs = weights["3.weight"].shape[1]
        head = nn.utils.skip_init(nn.Linear, inputs, ways, device=support.x.device, dtype=weights["3.weight"].dtype)
        network = nn.Sequential(backbone, nn.Flatten(), self._scaling(), head)
        try:
            network.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise LearnerError(f"These weights do not belong to this FineTune's network: {error}") from None
        network.requires_grad_(False)
        return FineTuned(network.eval(), self._normalise, support.x if self.batch_norm == "support" else None, ())

    def make_optimiser(self, network: nn.Sequential) -> torch.optim.Optimizer:
        """The optimiser over a copy: a parameter group for each layer group and one for the head, each with its `name` and `lr`."""
        members = _members(network[0], self.groups)
        groups: list[dict[str, object]] = [
            {"params": params, "lr": self.lr * factor, "name": group.name}
            for group, params, factor in zip(self.groups, members, self.factors, strict=True)
        ]
        groups.append({"params": list(network[-1].parameters()), "lr": self.lr, "name": HEAD})
        if self.optimiser == "sgd":
            return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        return torch.optim.AdamW(groups, lr=self.lr, weight_decay=self.weight_decay)

    def _train(self, network: nn.Sequential, optimiser: torch.optim.Optimizer, support: Examples, phase: int) -> Phase:
        """One phase, in place."""
        moving = self.unfreeze[phase] if self.unfreeze[phase] >= 0 else len(self.groups)
        first = len(self.groups) - moving
        for number, group in enumerate(optimiser.param_groups):
            for parameter in group["params"]:
                parameter.requires_grad_(number >= first)  # the head's is the last
        for name, layer in network[0].named_modules():
            if isinstance(layer, _BatchNorm):
                layer.train(self.statistics == "moving" and group_of(name, self.groups) >= first)
        # Where nothing below the head can change from step to step, the features are computed once.
        fixed = not moving and not self.augment and self.batch_norm == "running"
        x = self._features(network[0], support.x) if fixed else support.x
        losses = []
        for epoch in range(sum(self.epochs[:phase]), sum(self.epochs[: phase + 1])):
            if self.augment:
                x = augmented(support.x, self.augment, seed=int(support.seed), start=epoch * len(support))
            for part in self._parts(support, epoch):
                optimiser.zero_grad(set_to_none=True)
                logits = network[1:](x[part]) if fixed else self._logits(network, x[part])
                loss = nn.functional.cross_entropy(logits, support.y[part])
                loss.backward()
                optimiser.step()
                losses.append(loss.detach())
        optimiser.zero_grad(set_to_none=True)
        return Phase(
            trained=tuple(str(group["name"]) for group in optimiser.param_groups[first:]),
            frozen=tuple(str(group["name"]) for group in optimiser.param_groups[:first]),
            rates={str(group["name"]): float(group["lr"]) for group in optimiser.param_groups[first:]},
            epochs=self.epochs[phase],
            losses=tuple(torch.stack(losses).tolist()) if losses else (),
        )

    def _logits(self, network: nn.Sequential, x: Tensor) -> Tensor:
        """Logits of one mini-batch in training.

        Raises:
            LearnerError: if it is one item, and should be normalised by itself.
        """
        try:
            with normalised(network, "batch") if self.batch_norm != "running" else nullcontext():
                logits: Tensor = network(x)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise LearnerError(
                f"A mini-batch of {len(x)} has no statistics to normalise by. Raise batch_size (now {self.batch_size}), or leave "
                "batch_norm at 'running' and statistics at 'frozen'."
            ) from error
        return logits

    def _parts(self, support: Examples, epoch: int) -> Iterator[Tensor]:
        """The positions of each mini-batch of one epoch."""
        count = len(support)
        if count <= self.batch_size:
            yield torch.arange(count, device=support.x.device)
            return
        order = torch.randperm(count, generator=generator(support.seed, "order", epoch)).to(support.x.device)
        yield from order.tensor_split(-(-count // self.batch_size))

    def _features(self, backbone: nn.Module, x: Tensor) -> Tensor:
        """Features (s, d) of items without gradients, as this learner's batch norm has them before any training."""
        with torch.no_grad():
            if self.batch_norm != "running":
                with normalised(backbone, "batch"):
                    return backbone(x).flatten(1)  # type: ignore[no-any-return]  # a tensor, as a backbone gives it
            return torch.cat([backbone(chunk).flatten(1) for chunk in x.split(_AT_ONCE)])

    def _scaling(self) -> nn.Module:
        return UnitLength() if self.features == "unit" else nn.Identity()

    def _head(self, z: Tensor, support: Examples, ways: int) -> nn.Linear:
        """The head's start, on features z (s, d)."""
        head: nn.Linear = nn.utils.skip_init(nn.Linear, z.shape[1], ways, device=z.device, dtype=z.dtype)
        if self.head_start == "random":
            weight, bias = random_linear([int(support.seed)], z.shape[1], ways, like=z)
        elif self.head_start == "prototypes":
            weight, bias = prototype_linear(z[None], support.y[None], ways)
            means = weight[0] / 2  # (ways, d)
            spread = (means - means.mean(0)).square().sum(1).mean()
            # Features of a network that was not trained for distances may make logits of hundreds, whose loss has no gradient left.
            weight, bias = weight / spread.clamp_min(_LEAST), bias / spread.clamp_min(_LEAST)
        else:
            weight, bias = torch.zeros(1, ways, z.shape[1]), torch.zeros(1, ways)
        head.weight.copy_(weight[0])
        head.bias.copy_(bias[0])
        return head


def _members(backbone: nn.Module, groups: Sequence[LayerGroup]) -> list[list[nn.Parameter]]:
    """The parameters of each group."""
    members: list[list[nn.Parameter]] = [[] for _ in groups]
    for name, parameter in backbone.named_parameters():
        members[group_of(name, groups)].append(parameter)
    return members
