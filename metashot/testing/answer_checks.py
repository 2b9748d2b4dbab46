"""Whether a learner answers, and gives the same answer however it is asked."""

import torch
from torch import Tensor

from ..episodes import EpisodeBatch, Examples
from ..errors import LearnerError
from ..learners import FeatureLearner, Learner, Predictor, answered
from .differences import must_agree, must_be_on_cpu, must_repeat
from .generators import aligned
from .promise import BrokenPromiseError, promise, told
from .tasks import Episode, Task


def adapted(learner: Learner, support: Examples, ways: int) -> Predictor:
    """What `adapt` returns, if that can be called.

    Raises:
        LearnerError: if it cannot.
    """
    predictor: object = learner.adapt(support, ways)
    if not callable(predictor):
        name = type(learner).__name__
        raise LearnerError(f"{name}.adapt must return a function of the queries (is a `return` missing?); got {type(predictor).__name__}.")
    return predictor


def answer(learner: Learner, episode: Episode) -> Tensor:
    """Logits (q, ways) of one episode by `adapt`, under aligned generators."""
    with aligned():
        logits = answered(learner, episode.support, episode.query.x, episode.ways)
    must_be_on_cpu(logits)
    return logits


def looped(learner: Learner, batch: EpisodeBatch) -> Tensor:
    """Logits (B, q, ways) by the loop over `adapt`, under aligned generators."""
    with aligned():
        return torch.stack([answered(learner, batch.support[b], batch.query.x[b], batch.ways) for b in range(len(batch))])


@promise("adapt's predictor gives finite float logits (queries, ways)")
def check_logits(learner: Learner, task: Task) -> None:
    """For 2 and 5 ways or the fixed number, 1 and 3 shots; there are never as many queries as support items."""
    fixed = learner.tags().ways
    asked = (2, 5) if fixed is None else (fixed,)
    faults = {ways: fault for ways in asked if (fault := _fault(learner, task, ways))}
    if not faults:
        return
    fault = faults[min(faults)]
    works = [ways for ways in asked if ways not in faults]
    limited = f" {works[0]}-way episodes it answers; if it handles that number only, say so: LearnerTags(ways={works[0]})." if works else ""
    raise BrokenPromiseError(f"{fault}{limited}") from fault.__cause__


def _fault(learner: Learner, task: Task, ways: int) -> BrokenPromiseError | None:
    """What is wrong with the logits of a learner on episodes of so many ways."""
    for shots in (1, 3):
        what = f"on a {ways}-way {shots}-shot episode"
        try:
            with torch.enable_grad():  # that it answers without gradients too is a promise of its own
                logits = answer(learner, task(ways=ways, shots=shots))
        except BrokenPromiseError as broken:
            return broken
        except Exception as error:
            fault = BrokenPromiseError(f"{what}, with items {task.item_shape}: {told(error, task)}")
            fault.__cause__ = error
            return fault
        if not logits.is_floating_point():
            return BrokenPromiseError(f"{what} the logits are {logits.dtype}; return scores as floating-point numbers, not decisions.")
        if not logits.isfinite().all():
            bad = int((~logits.isfinite()).sum())
            return BrokenPromiseError(
                f"{what} {bad} of {logits.numel()} logits are not finite; look for a logarithm or a division by zero."
            )
    return None


@promise("the logits are the same with gradients recorded or not")
def check_no_grad(learner: Learner, task: Task) -> None:
    """The harness evaluates under `torch.no_grad()`; an inner loop has to turn gradients on for itself.

    With gradients it is asked twice: where two such answers differ already, gradients are not to blame.
    """
    episode = task()
    with torch.enable_grad():
        recorded = answer(learner, episode).detach().clone()
        must_repeat(answer(learner, episode).detach(), recorded)
    must_agree(
        answer(learner, episode),
        recorded,
        otherwise="under torch.no_grad() the answer is another than with gradients recorded; put `with torch.enable_grad():` around "
        "what needs gradients.",
    )


@promise("the same support gives the same predictor, and a predictor always the same answer")
def check_repeatable(learner: Learner, task: Task) -> None:
    """One predictor is called twice; then the learner adapts to the same support again."""
    episode = task()
    with aligned():
        predictor = adapted(learner, episode.support, episode.ways)
    with aligned():
        first = predictor(episode.query.x).clone()
    with aligned():
        must_agree(
            predictor(episode.query.x),
            first,
            otherwise="a predictor called twice with the same queries gave two answers; a call must leave nothing behind.",
        )
    with aligned():
        again = adapted(learner, episode.support, episode.ways)
    with aligned():
        must_agree(
            again(episode.query.x),
            first,
            otherwise="adapt called twice with the same support gave two predictors; adapt to copies of weights and buffers, never to "
            "those of the learner, and draw from metashot.generator(support.seed, purpose).",
        )


@promise("adapting to another episode leaves an earlier predictor as it was")
def check_episodes_independent(learner: Learner, task: Task) -> None:
    """Two episodes are open at once."""
    episode, other = task(0), task(1)
    with aligned():
        predictor = adapted(learner, episode.support, episode.ways)
    with aligned():
        before = predictor(episode.query.x).clone()
    with aligned():
        must_repeat(predictor(episode.query.x), before)
    answer(learner, other)
    with aligned():
        must_agree(
            predictor(episode.query.x),
            before,
            otherwise="adapting to a second episode changed the first one's predictor; keep what adapt learns in the predictor "
            "(local variables of adapt), not on the learner.",
        )


@promise("predict equals the loop over adapt", draws_line_up=False)
def check_batched_equals_loop(learner: Learner, task: Task) -> None:
    """For one episode and for three, in two orders."""
    for seeds in ([0], [0, 1, 2], [2, 0, 1]):
        batch = task.batch(seeds)

        def one_by_one(seeds: list[int] = seeds) -> Tensor:
            return looped(learner, task.batch(sorted(seeds)))[torch.tensor(seeds)]

        alone = one_by_one()
        with aligned():
            together: object = learner.predict(batch.support, batch.query.x, batch.ways)
        if not isinstance(together, Tensor):
            raise BrokenPromiseError(f"predict gave no tensor but a {type(together).__name__}; return logits (episodes, queries, ways).")
        must_agree(
            together,
            alone,
            otherwise=f"for {len(seeds)} episode(s), in the order {seeds}, predict and adapt answer differently; episodes must not share "
            "statistics or be mixed by a reshape. Without a predict of its own a learner inherits the loop.",
            again=one_by_one,
        )


@promise("logits from cached embeddings are those of adapt, and cacheable says when", draws_line_up=False)
def check_cached_equals_uncached(learner: Learner, task: Task) -> None:
    """Feature learners: `adapt_features` on items embedded one by one, and on those of three episodes embedded all at once.

    Where `batch_norm` is not `running`, an embedding depends on its company, and `cacheable` must be False.
    """
    if not isinstance(learner, FeatureLearner):
        raise BrokenPromiseError("it is no FeatureLearner, so it has no embeddings.")
    if learner.batch_norm != "running":
        if learner.cacheable:
            raise BrokenPromiseError(f"cacheable is True although batch_norm is {learner.batch_norm!r}; it may only be with 'running'.")
        return
    if not learner.cacheable:
        return
    batch = task.batch([0, 1, 2])
    items = torch.cat([batch.support.x.flatten(0, 1), batch.query.x.flatten(0, 1)])  # (n, *item)
    wanted = looped(learner, batch)
    together = learner.embed(items)
    advice = (
        "Embed every item for itself, do all the work on features in adapt_features and none in adapt; or override cacheable to say False."
    )
    for company, z in (("all at once", together), ("one by one", torch.cat([learner.embed(item[None]) for item in items]))):
        z_support, z_query = z.split([batch.support.y.numel(), batch.query.y.numel()])
        support = Examples(z_support.unflatten(0, batch.support.y.shape), batch.support.y, batch.support.seed)
        with aligned():
            cached = learner.adapt_features(support, batch.ways)(z_query.unflatten(0, batch.query.y.shape))
        must_agree(
            cached,
            wanted,
            otherwise=f"adapt_features on items embedded {company} answers differently from adapt. {advice}",
            again=lambda: looped(learner, batch),
        )
