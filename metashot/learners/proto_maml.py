"""Proto-MAML."""

from torch import Tensor, nn

from ..episodes import Examples
from ..functional import Weights, prototypes
from .gradient import HEAD, BatchNorm, Engine, GradientLearner, Precision


class ProtoMAML(GradientLearner):
    """MAML whose head starts, for each support set, as the linear classifier that a prototypical network is.

    With c_k the mean feature of class k the head starts with weight 2 c_k and bias -‖c_k‖², whose logits are -‖f(x) - c_k‖² but for a term
    that is the same for all classes. So any number of ways can be asked for, and no label has a row of its own. The meta-gradient flows
    through the prototypes too, with `first_order` as well.

    Args:
        backbone: (n, *item) -> (n, *feature), with `feature_shape`.
        inner_lr: α, the learning rate of the inner loop, for a mean loss.
        inner_steps: gradient steps in training.
        test_steps: gradient steps in evaluation; as in training if None.
        first_order: take the inner gradients for constants in the meta-gradient.
        batch_norm: which statistics normalise, as for `GradientLearner`; prototypes are made of features under those of the support pass.
        adapt_norm: whether the inner loop moves scales and shifts of batch norms too.
        precision: `float32`, or `bfloat16` under autocast; with the loop only.
        channels_last: keep convolutions in the channels-last memory format; with the loop only.
        engine: `loop` over episodes, `vmap`, or `auto`, as for `GradientLearner`.

    Raises:
        LearnerError: if an argument is out of its range, or the backbone has no `feature_shape`.

    Reference: Triantafillou et al. 2020, "Meta-Dataset: A Dataset of Datasets for Learning to Learn from Few Examples", arXiv:1903.03096,
    section 3 ("Proto-MAML").
    """

    meta_learns_head = False

    def __init__(
        self,
        backbone: nn.Module,
        *,
        inner_lr: float = 0.05,
        inner_steps: int = 5,
        test_steps: int | None = None,
        first_order: bool = False,
        batch_norm: BatchNorm = "running",
        adapt_norm: bool = True,
        precision: Precision = "float32",
        channels_last: bool = False,
        engine: Engine = "auto",
    ) -> None:
        super().__init__(
            backbone,
            ways=None,
            inner_lr=inner_lr,
            inner_steps=inner_steps,
            test_steps=test_steps,
            first_order=first_order,
            batch_norm=batch_norm,
            adapt_norm=adapt_norm,
            precision=precision,
            channels_last=channels_last,
            engine=engine,
        )

    def start(self, weights: Weights, support: Examples, ways: int) -> Weights:
        """The body's weights and a head of 2 c_k and -‖c_k‖²."""
        features = self.features(weights, support.x, self.support_source)
        means = prototypes(features[None], support.y[None], ways)[0]  # (ways, d)
        return weights | dict(zip(HEAD, (2 * means, -means.square().sum(1)), strict=True))

    def rate(self, step: int, name: str) -> Tensor | float:
        """α for every weight and step."""
        return self.inner_lr
