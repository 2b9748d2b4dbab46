"""Meta-training: episodes in, the selected weights out."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from time import perf_counter
from typing import Literal, Protocol

import torch
from torch import Tensor

from ..episodes import EpisodeBatch, EpisodeLoader, EpisodeSampler
from ..errors import LearnerError, MetashotError, RecipeError, described
from ..learners import Learner
from ..seeding import seeded
from .checkpoints import Checkpoints
from .schedules import Schedule, constant

Select = Literal["loss", "accuracy", "last"]


@dataclass(frozen=True)
class Validation:
    """Mean query cross-entropy and mean accuracy (a proportion) over the validation episodes."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Trained:
    """The state of a training run: everything that is neither weights nor the optimiser's.

    Attributes:
        step: steps done.
        best_step: the step whose weights are selected so far.
        best_value: its validation loss or accuracy; None before the first validation.
        history: one row a validation: `step`, `train_loss` (mean since the last row), `loss`, `accuracy`.
        pending_loss: sum of the training losses since the last row.
        seconds: wall time of all sessions of the run so far, validation included.
    """

    step: int = 0
    best_step: int = 0
    best_value: float | None = None
    history: tuple[dict[str, float], ...] = ()
    pending_loss: float = 0.0
    seconds: float = 0.0


class Progress(Protocol):
    """Who wants to hear how training goes."""

    def stepped(self, step: int, loss: float) -> None:
        """Step number `step` (from 1) is done; `loss` is its meta-loss."""

    def validated(self, row: dict[str, float]) -> None:
        """A row of the history was added."""


def meta_train(
    learner: Learner,
    sampler: EpisodeSampler,
    fetch: Callable[[Tensor], Tensor],
    *,
    steps: int,
    optimiser: torch.optim.Optimizer,
    schedule: Schedule | None = None,
    meta_batch: int = 1,
    micro_batch: int | None = None,
    seed: int = 0,
    validate: Callable[[Learner], Validation] | None = None,
    validate_every: int = 100,
    select: Select = "loss",
    patience: int | None = None,
    checkpoints: Checkpoints | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Trained:
    """Train `learner` on episodes and leave the selected weights in it.

    Step t uses the episodes `t * meta_batch .. (t + 1) * meta_batch` of the sampler and, for whatever draws from the global generator
    (dropout), a seed made of (seed, t). So training depends on no loader position and no random state, and a run that was cut off
    and resumed from its checkpoints ends with the same bits as one that was not (same machine, same number of threads).

    Args:
        learner: trained in place.
        sampler: the training episodes.
        fetch: items (n,) -> (n, *item) on `device`.
        steps: meta-updates.
        optimiser: over the learner's parameters.
        schedule: step -> factor on the optimiser's learning rates; default constant.
        meta_batch: episodes an update.
        micro_batch: episodes a backward pass, a divisor of `meta_batch`; bounds memory. Default: all of them.
        seed: of the global generator inside a step.
        validate: called with the learner in eval mode after every `validate_every` steps and after the last.
        validate_every: steps between validations; a checkpoint is written at each.
        select: which weights to leave: lowest validation `loss`, highest `accuracy` (the earliest of equals), or the `last`.
        patience: stop after this many validations in a row without a better value; None: never.
        checkpoints: where to keep checkpoints, and to resume from.
        device: where the batches go.
        progress: told of steps and validations.

    Raises:
        LearnerError: if a loss is not a finite scalar with a gradient, the learner raises, or the value to select by is not finite.
        RecipeError: if `micro_batch` does not divide `meta_batch`, or there is nothing to select or be patient by.
    """
    if meta_batch % (micro_batch or 1):
        raise RecipeError(f"micro_batch must divide meta_batch; got {micro_batch} and {meta_batch}.")
    if select == "last" and patience is not None:
        raise RecipeError("patience needs select='loss' or 'accuracy': with 'last' no validation is better than another.")
    if validate is None and (select != "last" or patience is not None):
        raise RecipeError(f"select={select!r} and patience={patience} need validation; give `validate`, or select='last' and no patience.")
    schedule = schedule or constant()
    rates = [group["lr"] for group in optimiser.param_groups]
    state, best_weights = _resume(learner, optimiser, checkpoints)
    began = perf_counter() - state.seconds
    learner.train()
    while state.step < steps and not _exhausted(state, patience, validate_every):
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * schedule(state.step)
        loader = EpisodeLoader(
            sampler, fetch, count=meta_batch, start=state.step * meta_batch, batch=micro_batch or meta_batch, device=device
        )
        learner.meta_step.fill_(state.step)
        with seeded(seed, "train", state.step):
            loss = meta_step(learner, optimiser, list(loader))
        state = replace(state, step=state.step + 1, pending_loss=state.pending_loss + loss)
        if progress:
            progress.stepped(state.step, loss)
        if state.step % validate_every == 0 or state.step == steps:
            state, better = _validated(learner, state, validate, select)
            state = replace(state, seconds=perf_counter() - began)
            if better:
                best_weights = {name: tensor.detach().clone() for name, tensor in learner.state_dict().items()}
            if progress and state.history:
                progress.validated(state.history[-1])
            if checkpoints:
                checkpoints.save(state.step, learner, optimiser, asdict(state), best=state.best_step)
    if best_weights is not None:
        learner.load_state_dict(best_weights)
    learner.eval()
    return state


def meta_step(learner: Learner, optimiser: torch.optim.Optimizer, batches: Sequence[EpisodeBatch]) -> float:
    """One meta-update from the episodes of `batches`, with a backward pass after each; returns the mean loss over episodes.

    Each batch starts from the buffers as they were; their mean, weighted by episodes, is written back (integer buffers take the last).

    Raises:
        LearnerError: if a loss is not a finite scalar with a gradient, or the learner raises; names learner and step.
    """
    episodes = sum(map(len, batches))
    before = {name: buffer.clone() for name, buffer in learner.named_buffers()}
    means = {name: torch.zeros_like(buffer) for name, buffer in before.items()}
    optimiser.zero_grad(set_to_none=True)
    total = 0.0
    for number, batch in enumerate(batches):
        share = len(batch) / episodes
        buffers = dict(learner.named_buffers())
        if number > 0:
            for name, buffer in buffers.items():
                buffer.copy_(before[name])
        loss = _meta_loss(learner, batch)
        try:
            (loss * share).backward()
        except RuntimeError as error:  # of the graph: an in-place write, a custom function
            raise LearnerError(f"{_at(learner)}: its gradient failed: {described(error)}") from error
        total += loss.item() * share
        if len(batches) > 1:
            for name, buffer in buffers.items():
                means[name] = means[name] + buffer * share if buffer.is_floating_point() else buffer.clone()
    if len(batches) > 1:
        for name, buffer in learner.named_buffers():
            buffer.copy_(means[name])
    optimiser.step()
    return total


def _meta_loss(learner: Learner, batch: EpisodeBatch) -> Tensor:
    """`learner.meta_loss(batch)`, checked; what it raises is told with the learner's name and the step."""
    try:
        loss: object = learner.meta_loss(batch)
    except MetashotError as error:
        raise LearnerError(f"{_at(learner)}: {error}") from error
    except Exception as error:
        raise LearnerError(f"{_at(learner)}: {described(error)}") from error
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.isfinite():
        shape = tuple(loss.shape) if isinstance(loss, Tensor) else ()
        found = f"of shape {shape}" if shape else loss.item() if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        advice = (
            "Return the mean over episodes, a tensor of shape ()."
            if shape or not isinstance(loss, Tensor)
            else "Try a lower learning rate."
        )
        raise LearnerError(f"{_at(learner)}: it must be a finite scalar and is {found}. {advice}")
    if not loss.requires_grad:
        raise LearnerError(f"{_at(learner)}: it has no gradient. Is there a detach, argmax or no_grad on the way, or nothing to train?")
    return loss


def _at(learner: Learner) -> str:
    return f"meta_loss of {type(learner).__name__} at step {int(learner.meta_step)}"


def _resume(
    learner: Learner, optimiser: torch.optim.Optimizer, checkpoints: Checkpoints | None
) -> tuple[Trained, dict[str, Tensor] | None]:
    """The state to go on from, and the best weights so far; a fresh one if there is no checkpoint."""
    newest = checkpoints.newest() if checkpoints else None
    if checkpoints is None or newest is None:
        return Trained(), None
    stored = checkpoints.restore(newest, learner, optimiser)
    values = {name: stored[name] for name in asdict(Trained())}
    state = Trained(**values | {"history": tuple(stored["history"])})
    return state, checkpoints.weights(state.best_step)


def _validated(learner: Learner, state: Trained, validate: Callable[[Learner], Validation] | None, select: Select) -> tuple[Trained, bool]:
    """The state with one more row of history, and whether these weights are the best so far."""
    last = state.history[-1]["step"] if state.history else 0
    row = {"step": state.step, "train_loss": state.pending_loss / (state.step - last)}
    if validate is None:
        return replace(state, history=(*state.history, row), best_step=state.step, pending_loss=0.0), True
    learner.eval()
    try:
        found = validate(learner)
    except LearnerError as error:
        raise LearnerError(f"In the validation after step {state.step}: {error}") from error
    learner.train()
    row |= asdict(found)
    value = found.accuracy if select == "accuracy" else found.loss
    if not isfinite(value):
        raise LearnerError(
            f"The validation of {type(learner).__name__} at step {state.step} gave {found}, by which nothing can be selected."
        )
    sign = -1 if select == "accuracy" else 1
    best = inf if state.best_value is None else sign * state.best_value
    better = select == "last" or sign * value < best
    state = replace(state, history=(*state.history, row), pending_loss=0.0)
    return (replace(state, best_step=state.step, best_value=value) if better else state), better


def _exhausted(state: Trained, patience: int | None, validate_every: int) -> bool:
    return patience is not None and state.step - state.best_step >= patience * validate_every
