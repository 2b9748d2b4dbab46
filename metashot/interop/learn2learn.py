"""learn2learn: its gradient-based algorithms as learners, and our episodes as its task sets.

The learners are given by reference, as in `metashot bench omniglot-5w1s --learner metashot.interop.learn2learn:MAML`.
learn2learn 0.2.0 (Arnold et al. 2020, arXiv:2008.12284) does not install by itself on Python 3.11 and later;
`benchmarks/learn2learn/build.py --install` in metashot's repository builds and installs it. `EpisodeTasks` works without it.
"""

import sys
from abc import abstractmethod
from collections.abc import Callable
from contextlib import redirect_stderr
from importlib import import_module
from io import StringIO
from math import prod
from types import ModuleType
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ..episodes import Examples
from ..errors import LearnerError, MetashotError
from ..functional import with_batch_statistics
from ..learners import Learner, LearnerTags, Predictor
from ..learners.gradient import HeadStart
from .task_set import EpisodeTasks as EpisodeTasks

Transform = Literal["none", "scale", "meta-curvature"]


def import_learn2learn() -> ModuleType:
    """learn2learn, imported without the notice that gym prints; whatever else is printed or warned is left as it is.

    Raises:
        MetashotError: if it is not installed or cannot be imported; names the script that builds it.
    """
    printed = StringIO()
    try:
        with redirect_stderr(printed):
            return import_module("learn2learn")
    except ImportError as error:
        raise MetashotError(
            f"learn2learn cannot be imported ({error}). Build and install it with `python benchmarks/learn2learn/build.py --install` in "
            "metashot's repository."
        ) from error
    finally:
        sys.stderr.write(_without_notice(printed.getvalue()))


class CloneLearner(Learner):
    """A learner that adapts a clone of a learn2learn algorithm and asks the clone about the queries.

    The same head is added as to our own gradient-based learners, and drawn in the same order: equal seeds give equal initial weights.
    `batch_norm` is `transductive`, which is what learn2learn's scripts do: their layers stay in train mode, so the support set is
    normalised by its own statistics in each step, and the queries by their own, all together. Clones share the running statistics of the
    original, and in those scripts each of their passes moves them, though nothing reads them; here they stay as they are. The inner
    loss is the mean cross-entropy.

    Args:
        backbone: (n, *item) -> (n, *feature), with `feature_shape`.
        wrap: network -> the algorithm, a module with `clone` and `module`.
        ways: number of classes; the head has that many rows.
        inner_steps: gradient steps in training. test_steps: in evaluation; as in training if None.
        head_start: the head starts as `torch` has it, or `normal`: weights of standard deviation 1, biases 0.

    Raises:
        LearnerError: if an argument is out of its range, or the backbone has no `feature_shape`.
        MetashotError: if learn2learn cannot be imported.
    """

    batch_norm = "transductive"

    def __init__(
        self,
        backbone: nn.Module,
        wrap: Callable[[nn.Module], nn.Module],
        *,
        ways: int,
        inner_steps: int,
        test_steps: int | None,
        head_start: HeadStart,
    ) -> None:
        super().__init__()
        name = f"learn2learn's {type(self).__name__}"
        if not isinstance(ways, int) or ways < 2:
            raise LearnerError(f"{name} has a head of fixed size here and needs one number of ways, at least 2; got {ways}.")
        if inner_steps < 1 or (test_steps is not None and test_steps < 1):
            raise LearnerError(f"{name} needs at least one inner step; got inner_steps={inner_steps}, test_steps={test_steps}.")
        if head_start not in get_args(HeadStart):
            raise LearnerError(f"head_start of {name} must be one of {', '.join(get_args(HeadStart))}; got {head_start!r}.")
        feature_shape = getattr(backbone, "feature_shape", None)
        if feature_shape is None:
            raise LearnerError(f"{name} gets a head here, so its backbone must say the shape of one item's features: feature_shape.")
        self.ways, self.inner_steps, self.test_steps = ways, inner_steps, test_steps or inner_steps
        head = nn.Linear(prod(feature_shape), ways)
        if head_start == "normal":
            nn.init.normal_(head.weight)
            nn.init.zeros_(head.bias)
        self.algorithm: Any = wrap(nn.Sequential(backbone, nn.Flatten(), head))

    @abstractmethod
    def step(self, clone: Any, loss: Tensor, *, constant: bool) -> None:
        """One step of a clone on its loss; with `constant` nobody will differentiate through it."""

    @property
    def network(self) -> nn.Module:
        """Backbone, flattening and head, whose weights are meta-learned."""
        network: nn.Module = self.algorithm.module
        return network

    def tags(self) -> LearnerTags:
        """One number of ways; a row of the head for each label; transductive, as batch norm is."""
        return LearnerTags(ways=self.ways, label_symmetric=False, transductive=True)

    def adapt(self, support: Examples, ways: int) -> Predictor:
        """A clone after `test_steps` steps (`inner_steps` in train mode) on one support set."""
        if ways != self.ways:
            raise LearnerError(f"This learner has a head of {self.ways} rows and was asked for {ways} ways. Train one for {ways} ways.")
        constant = not torch.is_grad_enabled()
        with torch.enable_grad():
            clone = self.algorithm.clone()
            for _ in range(self.inner_steps if self.training else self.test_steps):
                logits = with_batch_statistics(clone.module, support.x)
                self.step(clone, nn.functional.cross_entropy(logits, support.y), constant=constant)
        return lambda x: with_batch_statistics(clone.module, x)


class MAML(CloneLearner):
    """learn2learn's `MAML`.

    Args:
        backbone, ways, inner_steps, test_steps, head_start: as for `CloneLearner`.
        inner_lr: α, the learning rate of the inner loop, for a mean loss.
        first_order: take the inner gradients for constants in the meta-gradient.

    Reference: Finn, Abbeel and Levine 2017, arXiv:1703.03400, algorithm 2; first order: section 5.2.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        ways: int,
        inner_lr: float = 0.05,
        inner_steps: int = 5,
        test_steps: int | None = None,
        first_order: bool = False,
        head_start: HeadStart = "torch",
    ) -> None:
        def wrap(network: nn.Module) -> nn.Module:
            # Without `allow_nograd` it prints errors and goes on; with it, it raises them, and leaves frozen weights where they are.
            algorithm: nn.Module = import_learn2learn().algorithms.MAML(network, lr=inner_lr, allow_nograd=True, allow_unused=False)
            return algorithm

        super().__init__(backbone, wrap, ways=ways, inner_steps=inner_steps, test_steps=test_steps, head_start=head_start)
        self.first_order = first_order

    def step(self, clone: Any, loss: Tensor, *, constant: bool) -> None:
        """w ← w - α ∇loss(w)."""
        clone.adapt(loss, first_order=self.first_order or constant)


class MetaSGD(CloneLearner):
    """learn2learn's `MetaSGD`: as MAML, with a learning rate for each entry of each weight, meta-learned too.

    Args:
        backbone, ways, inner_steps, test_steps, first_order, head_start: as for `MAML`.
        inner_lr: where the learning rates start.

    Raises:
        LearnerError: if a weight of the backbone is frozen, which learn2learn's MetaSGD does not handle.

    Reference: Li, Zhou, Chen and Li 2017, "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", arXiv:1707.09835, algorithm 1.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        ways: int,
        inner_lr: float = 0.05,
        inner_steps: int = 5,
        test_steps: int | None = None,
        first_order: bool = False,
        head_start: HeadStart = "torch",
    ) -> None:
        def wrap(network: nn.Module) -> nn.Module:
            frozen = [name for name, weight in network.named_parameters() if not weight.requires_grad]
            if frozen:
                raise LearnerError(f"learn2learn's MetaSGD moves every weight, and {', '.join(frozen)} are frozen. Unfreeze them.")
            algorithm: nn.Module = import_learn2learn().algorithms.MetaSGD(network, lr=inner_lr)
            return algorithm

        super().__init__(backbone, wrap, ways=ways, inner_steps=inner_steps, test_steps=test_steps, head_start=head_start)
        self.first_order = first_order

    def step(self, clone: Any, loss: Tensor, *, constant: bool) -> None:
        """w ← w - α * ∇loss(w), entry by entry."""
        clone.adapt(loss, first_order=self.first_order or constant)


class GBML(CloneLearner):
    """learn2learn's `GBML`: as MAML, with inner gradients that pass through meta-learned transforms, one a weight.

    Args:
        backbone, ways, inner_lr, inner_steps, test_steps, first_order, head_start: as for `MAML`.
        transform: `none`, which is MAML; `scale`: a factor for each entry, from 1, which is Meta-SGD in another parametrisation;
            `meta-curvature`: matrices along the axes of the weight, from the identity.
        adapt_transform: let the transforms learn by gradient descent in the inner loop too, from its second step on.

    Raises:
        LearnerError: for another `transform`; if `adapt_transform` is asked for with `first_order` or without a transform, which
            learn2learn's GBML does not handle.

    Reference: Arnold, Iqbal and Sha 2021, "When MAML Can Adapt Fast and How to Assist When It Cannot", arXiv:1910.13603; Park and Oliva
    2019, "Meta-Curvature", arXiv:1902.03356.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        ways: int,
        inner_lr: float = 0.05,
        inner_steps: int = 5,
        test_steps: int | None = None,
        first_order: bool = False,
        head_start: HeadStart = "torch",
        transform: Transform = "scale",
        adapt_transform: bool = False,
    ) -> None:
        if transform not in get_args(Transform):
            raise LearnerError(f"transform of GBML must be one of {', '.join(get_args(Transform))}; got {transform!r}.")
        if adapt_transform and (first_order or transform == "none"):
            raise LearnerError("adapt_transform of GBML needs a transform, and second-order gradients; leave it or first_order out.")

        def wrap(network: nn.Module) -> nn.Module:
            library = import_learn2learn()
            make = {
                "none": lambda weight: None,
                "scale": lambda weight: library.nn.Scale(tuple(weight.shape)),
                "meta-curvature": library.optim.MetaCurvatureTransform,
            }[transform]
            algorithm: nn.Module = library.algorithms.GBML(
                network,
                transform=lambda weight: make(weight) if weight.requires_grad else None,
                lr=inner_lr,
                adapt_transform=adapt_transform,
                allow_nograd=True,  # as for MAML
            )
            return algorithm

        super().__init__(backbone, wrap, ways=ways, inner_steps=inner_steps, test_steps=test_steps, head_start=head_start)
        self.first_order, self.adapt_transform = first_order, adapt_transform

    def step(self, clone: Any, loss: Tensor, *, constant: bool) -> None:
        """w ← w - α transform(∇loss(w))."""
        clone.adapt(loss, first_order=self.first_order or (constant and not self.adapt_transform))


def _without_notice(printed: str) -> str:
    """What was printed, less the notice that gym prints about its own version."""
    gym, notices = (sys.modules.get(name) for name in ("gym", "gym_notices.notices"))
    notice = getattr(notices, "notices", {}).get(getattr(gym, "__version__", None))
    return printed.replace(f"{notice}\n", "", 1) if notice else printed
