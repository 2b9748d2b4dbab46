"""Supervised training of a backbone: all training classes at once, under a head that is thrown away."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from time import perf_counter
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..errors import LearnerError, MetashotError, RecipeError, described
from ..functional import augmented, check_augmentations, cosine_head
from ..seeding import generator, seeded
from .checkpoints import Checkpoints
from .meta_train import Progress
from .schedules import Schedule, constant

ClassifierHead = Literal["linear", "cosine"]
Precision = Literal["float32", "bfloat16"]

_FEW_OUTPUTS = 200  # up to so many a cosine head's scale is 2, and 10 beyond, as in the code of Chen et al.


@dataclass(frozen=True)
class Pretrained:
    """The state of a supervised training: everything that is neither weights nor the optimiser's.

    Attributes:
        step: steps done.
        history: one row an epoch, the last maybe of a part of it: `step`, `epoch` (from 1), `train_loss`, `train_accuracy`, both means over
            its images as they were trained on.
        pending_loss: sum of the losses of this epoch's images so far.
        pending_right: how many of them were classified rightly.
        seconds: wall time of all sessions of the training so far.
    """

    step: int = 0
    history: tuple[dict[str, float], ...] = ()
    pending_loss: float = 0.0
    pending_right: int = 0
    seconds: float = 0.0


class Classifier(nn.Module):
    """A backbone with a head over `outputs` classes.

    Args:
        backbone: (n, *item) -> (n, *feature), with `feature_shape`.
        outputs: logits; may be more than there are classes.
        head: `linear`, with biases that start at 0; or `cosine`, of learned norms.
        scale: of a cosine head's logits; 2 for up to 200 outputs and 10 beyond if None.

    Raises:
        LearnerError: if the backbone has no `feature_shape`.
        RecipeError: for another head.

    Reference: Chen et al. 2019, arXiv:1904.04232, section 3.2, and the authors' code.
    """

    def __init__(self, backbone: nn.Module, *, outputs: int, head: ClassifierHead = "linear", scale: float | None = None) -> None:
        super().__init__()
        feature_shape = getattr(backbone, "feature_shape", None)
        if feature_shape is None:
            raise LearnerError("A classifier adds a head, so its backbone must say the shape of one item's features: feature_shape.")
        if head not in get_args(ClassifierHead):
            raise RecipeError(f"The head of a classifier is linear or cosine; got {head!r}.")
        self.backbone, self.kind = backbone, head
        self.scale = scale if scale is not None else 2.0 if outputs <= _FEW_OUTPUTS else 10.0
        self.head = nn.Linear(prod(feature_shape), outputs, bias=head == "linear")
        if head == "linear":
            nn.init.zeros_(self.head.bias)
        else:
            self.norm = nn.Parameter(self.head.weight.detach().norm(dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, *item) -> (n, outputs)."""
        features = self.backbone(x).flatten(1)  # (n, d)
        if self.kind == "linear":
            logits: Tensor = self.head(features)
            return logits
        return cosine_head(features[None], self.head.weight[None], self.norm[None], scale=self.scale)[0]


def pretrain(
    backbone: nn.Module,
    fetch: Callable[[Tensor], Tensor],
    labels: Tensor,
    *,
    epochs: int,
    batch: int,
    optimiser: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    schedule: Schedule | None = None,
    head: ClassifierHead = "linear",
    outputs: int | None = None,
    most_steps: int | None = None,
    augment: Sequence[str] = (),
    precision: Precision = "float32",
    seed: int = 0,
    checkpoints: Checkpoints | None = None,
    checkpoint_every: int = 1000,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Pretrained:
    """Train `backbone` to classify the training classes and leave the last weights in it, in eval mode.

    Epoch e takes the items in an order drawn from (seed, e), the changes of an image are drawn from (seed, its position in the training),
    and whatever draws from the global generator (dropout) has a seed made of (seed, step). So a training that was cut off and resumed from
    its checkpoints ends with the same bits as one that was not (same machine, same number of threads).

    Args:
        backbone: trained in place.
        fetch: items (n,) -> (n, *item) on `device`.
        labels: (N,), the class of each item, from 0.
        epochs: passes over all items.
        batch: items of a step; the last step of an epoch may have fewer.
        optimiser: makes one for the parameters of backbone and head.
        schedule: epoch (from 0) -> factor on the optimiser's learning rates; default constant.
        head: of the classifier, `linear` or `cosine`.
        outputs: its logits; as many as there are classes if None.
        most_steps: end after so many steps, wherever in an epoch that is.
        augment: names of random changes of the images, as for `augmented`.
        precision: `bfloat16` runs forward passes under autocast; weights and optimiser stay float32.
        seed: of head, order, changes, and the global generator inside a step.
        checkpoints: where to keep checkpoints, and to resume from.
        checkpoint_every: steps between checkpoints inside an epoch; there is one after every epoch, too.
        device: where the batches go.
        progress: told of steps, and of epochs as of validations.

    Raises:
        RecipeError: if there are fewer outputs than classes, or the images cannot be changed as asked.
        LearnerError: if the loss is not finite, or the backbone raises.
    """
    classes = int(labels.max()) + 1
    outputs = classes if outputs is None else outputs
    if outputs < classes:
        raise RecipeError(f"pretrain.outputs = {outputs} cannot tell {classes} training classes apart; give at least {classes}.")
    check_augmentations(augment, fetch(torch.zeros(1, dtype=torch.int64)).shape[1:])
    schedule = schedule or constant()
    with seeded(seed, "pretraining head"):
        network = Classifier(backbone, outputs=outputs, head=head).to(device)
    steps = optimiser([parameter for parameter in network.parameters() if parameter.requires_grad])
    rates = [group["lr"] for group in steps.param_groups]
    state = _resume(network, steps, checkpoints)
    began = perf_counter() - state.seconds
    per_epoch = -(-len(labels) // batch)
    last = min(epochs * per_epoch, most_steps or epochs * per_epoch)
    network.train()
    order, drawn_for = torch.empty(0), -1
    while state.step < last:
        epoch, place = divmod(state.step, per_epoch)
        if drawn_for != epoch:
            order, drawn_for = torch.randperm(len(labels), generator=generator(seed, "pretraining order", epoch)), epoch
        for group, rate in zip(steps.param_groups, rates, strict=True):
            group["lr"] = rate * schedule(epoch)
        items = order[place * batch : (place + 1) * batch]
        x = augmented(fetch(items), augment, seed=seed, start=epoch * len(labels) + place * batch)
        with seeded(seed, "pretraining", state.step):
            loss, right = _step(network, steps, x, labels[items].to(device), precision, state.step)
        state = replace(
            state,
            step=state.step + 1,
            pending_loss=state.pending_loss + loss * len(items),
            pending_right=state.pending_right + right,
            seconds=perf_counter() - began,
        )
        if progress:
            progress.stepped(state.step, loss)
        ended = place + 1 == per_epoch or state.step == last
        if ended:
            seen = place * batch + len(items)
            row = {"step": state.step, "epoch": epoch + 1, "train_loss": state.pending_loss / seen}
            row |= {"train_accuracy": state.pending_right / seen}
            state = replace(state, history=(*state.history, row), pending_loss=0.0, pending_right=0)
            if progress:
                progress.validated(row)
        if checkpoints and (ended or state.step % checkpoint_every == 0):
            checkpoints.save(state.step, network, steps, asdict(state), best=None)
    network.eval()
    return state


def _step(
    network: Classifier, optimiser: torch.optim.Optimizer, x: Tensor, labels: Tensor, precision: Precision, step: int
) -> tuple[float, int]:
    """One update; returns the mean loss and how many items were classified rightly."""
    try:
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            logits = network(x)
        loss = nn.functional.cross_entropy(logits.float() if precision == "bfloat16" else logits, labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
    except MetashotError:
        raise
    except Exception as error:
        raise LearnerError(f"Supervised training of the backbone failed at step {step}: {described(error)}") from error
    value = loss.item()
    if not loss.isfinite():
        raise LearnerError(f"The loss of supervised training is {value} at step {step}. Try a lower learning rate.")
    optimiser.step()
    return value, int((logits.argmax(1) == labels).sum())


def _resume(network: nn.Module, optimiser: torch.optim.Optimizer, checkpoints: Checkpoints | None) -> Pretrained:
    """The state to go on from; a fresh one if there is no checkpoint."""
    newest = checkpoints.newest() if checkpoints else None
    if checkpoints is None or newest is None:
        return Pretrained()
    stored = checkpoints.restore(newest, network, optimiser)
    values = {name: stored[name] for name in asdict(Pretrained())}
    return Pretrained(**values | {"history": tuple(stored["history"])})
