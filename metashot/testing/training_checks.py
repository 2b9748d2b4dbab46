"""Whether a learner can be trained, and learns."""

from math import sqrt

import torch
from torch import Tensor, nn

from ..learners import Learner, answered
from ..training import meta_step
from .differences import must_be_on_cpu
from .promise import BrokenPromiseError, promise
from .tasks import Task

MOST_STEPS = 40
_BETWEEN_TESTS = 10
_META_BATCH = 4
_LEARNING_RATE = 0.01
_TEST_EPISODES = 20
_ERRORS = 4  # standard errors above chance
_FIRST_TRAINED, _FIRST_TESTED = 1_000, 2_000  # seeds

_NOT_TRAINABLE = "If there is nothing to train, say so: LearnerTags(trainable=False)."


@promise("meta_loss is a finite scalar with a gradient for every trainable parameter")
def check_meta_loss(learner: Learner, task: Task) -> None:
    """In train mode, on two episodes."""
    learner.train()
    parameters = _trainable(learner)
    with torch.enable_grad():
        loss: object = learner.meta_loss(task.batch([0, 1]))
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            found = f"a tensor {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
            raise BrokenPromiseError(f"meta_loss must return the mean over episodes, a tensor of shape (); got {found}.")
        must_be_on_cpu(loss, "meta_loss is")
        if not loss.isfinite():
            raise BrokenPromiseError(f"meta_loss is {loss.item()} on toy tasks.")
        if not loss.requires_grad:
            raise BrokenPromiseError(
                f"meta_loss has no gradient: it was detached from the parameters (detach, no_grad, .data, item). {_NOT_TRAINABLE}"
            )
        loss.backward()
    unused = [name for name, parameter in parameters.items() if parameter.grad is None]
    if unused:
        raise BrokenPromiseError(
            f"{len(unused)} of {len(parameters)} trainable parameters get no gradient: {', '.join(unused)}. Use them, remove them, or "
            "freeze them with requires_grad_(False)."
        )
    endless = [name for name, parameter in parameters.items() if parameter.grad is not None and not parameter.grad.isfinite().all()]
    if endless:
        raise BrokenPromiseError(f"the gradient of {', '.join(endless)} is not finite; look for sqrt, norm or log at zero.")


@promise(f"it beats chance by {_ERRORS} standard errors on toy tasks")
def check_learns(learner: Learner, task: Task) -> None:
    """After at most 40 steps of Adam if it is trainable, and none if not; then `fit_base`, as after any training.

    A learner that beats chance earlier is not trained further.
    """
    trainable = learner.tags().trainable
    optimiser = torch.optim.Adam(_trainable(learner).values(), lr=_LEARNING_RATE) if trainable else None
    done = 0
    while True:
        if optimiser is not None:
            _train(learner, optimiser, task, range(done, done + _BETWEEN_TESTS))
            done += _BETWEEN_TESTS
        fit_base(learner, task)
        accuracy, error = _accuracy(learner, task)
        if accuracy - 1 / task.ways > _ERRORS * error:
            return
        if done >= MOST_STEPS or optimiser is None:
            break
    raise BrokenPromiseError(
        f"after {done} training steps it answers {accuracy:.1%} of {_TEST_EPISODES} {task.ways}-way episodes of well separated classes, "
        f"where chance gives {1 / task.ways:.1%} and {1 / task.ways + _ERRORS * error:.1%} is needed. Is the right class the largest "
        "logit (distances need a minus sign)? Do labels and logits name classes alike? Does the inner loop start from too small a "
        "learning rate?"
    )


def fit_base(learner: Learner, task: Task) -> None:
    """`learner.fit_base` as it is called after training: in eval mode, which stays, and without gradients."""
    learner.eval()
    with torch.no_grad():
        learner.fit_base(task.base())
    learner.eval()


def _train(learner: Learner, optimiser: torch.optim.Optimizer, task: Task, steps: range) -> None:
    learner.train()
    with torch.enable_grad():
        for step in steps:
            learner.meta_step.fill_(step)
            first = _FIRST_TRAINED + step * _META_BATCH
            meta_step(learner, optimiser, [task.batch(range(first, first + _META_BATCH))])


def _accuracy(learner: Learner, task: Task) -> tuple[float, float]:
    """Mean accuracy over test episodes, and its standard error: over episodes, and no less than that of guessing."""
    rates = []
    for seed in range(_FIRST_TESTED, _FIRST_TESTED + _TEST_EPISODES):
        episode = task(seed)
        logits = answered(learner, episode.support, episode.query.x, episode.ways)
        must_be_on_cpu(logits)
        rates.append((logits.argmax(-1) == episode.query.y).double().mean())
    rate = torch.stack(rates)
    chance = 1 / task.ways
    guessing = sqrt(chance * (1 - chance) / (len(rate) * len(episode.query)))
    return rate.mean().item(), max(rate.std().item() / sqrt(len(rate)), guessing)


def _trainable(learner: Learner) -> dict[str, nn.Parameter]:
    found = {name: parameter for name, parameter in learner.named_parameters() if parameter.requires_grad}
    if not found:
        raise BrokenPromiseError(f"it is tagged trainable and has no trainable parameter. {_NOT_TRAINABLE}")
    return found
