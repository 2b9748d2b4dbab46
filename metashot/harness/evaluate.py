"""Evaluation: a learner answers episodes; what comes out is a log of every answer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor

from ..data.pool import Pool
from ..episodes import EpisodeBatch, EpisodePlan, EpisodeSampler, EpisodeSpec, gather
from ..errors import LearnerError, MetashotError, described
from ..learners import FeatureLearner, Learner, answered
from ..seeding import seeded
from ..stats import EpisodeLog
from ..training import Validation
from .embeddings import cached_embeddings, embed
from .witness import Witness

CHUNK = 64  # episodes answered at once; chunks are aligned and whole, so an answer does not depend on how many are asked for

Fetch = Callable[[Tensor], Tensor]
_ENABLE = ". Evaluation runs under torch.no_grad(): put `with torch.enable_grad():` around what needs gradients."


@dataclass(frozen=True, eq=False)
class Answers:
    """Logits (B, q, ways) and labels (B, q) of B episodes with the given indices (B,) int64."""

    episodes: np.ndarray
    logits: Tensor
    labels: Tensor


def evaluate(
    learner: Learner,
    store: Pool,
    spec: EpisodeSpec,
    *,
    episodes: int,
    seed: int = 0,
    start: int = 0,
    device: torch.device | str = "cpu",
    probabilities: bool = False,
    on_episodes: Callable[[int], None] | None = None,
) -> EpisodeLog:
    """Answer episodes `start .. start + episodes` of a store and log every answer.

    A `FeatureLearner` whose embeddings may be cached embeds each image of the store once, and keeps that for the next time. The learner
    sees no query labels and is not changed.

    Args:
        learner: any; answers in eval mode, its mode is put back.
        store: the pool of items: an `ImageStore`, for example the test split, or a wrapped torch data set.
        spec: the sizes of an episode.
        episodes: how many.
        seed: of the episode stream.
        start: index of the first.
        device: where the learner is.
        probabilities: record how sure the learner was (`EpisodeLog.confidence` and `true_log_prob`), by the softmax of its logits, which
            means something where the learner was trained by cross-entropy or meant its logits so.
        on_episodes: told how many episodes are answered so far.

    Raises:
        EpisodeError: if the store cannot give such episodes.
        LearnerError: if the learner raises, its logits are not finite floats of the right shape and device, it writes to its inputs, keeps
            anything on itself, or draws from a global generator without the tag; names the episode.
    """
    sampler = episode_sampler(store, spec, seed)
    plan = sampler.plan(start, episodes)
    correct = np.zeros(plan.query.shape, dtype=bool)
    confidence, true_log_prob = (np.zeros(plan.query.shape, np.float32) if probabilities else None for _ in range(2))
    where = torch.device(device)
    fetch = store.fetcher(where)
    features: Tensor | None = None
    answered = 0
    with _evaluating(learner):
        if _embeds_once(learner):
            count = len(store.labels)
            if store.fingerprint is None:  # the content is not known, so nothing can be kept under it
                features = embed(learner, fetch, torch.arange(count))
            else:
                features = cached_embeddings(learner, fetch, count=count, data=store.fingerprint, device=where)
            fetch = _rows_of(features)
        for answers in _answers(learner, sampler, fetch, start, episodes, device=where, embedded=features is not None):
            right = (answers.logits.argmax(-1) == answers.labels).cpu().numpy()  # (B, q)
            for row, answer in zip(answers.episodes - start, right, strict=True):
                correct[row][plan.query[row] >= 0] = answer
            if confidence is not None and true_log_prob is not None:
                log_probs = answers.logits.float().log_softmax(-1)  # (B, q, ways)
                sure = log_probs.amax(-1).exp().cpu().numpy()
                true = log_probs.gather(-1, answers.labels[..., None])[..., 0].cpu().numpy()
                for b, row in enumerate(answers.episodes - start):
                    confidence[row][plan.query[row] >= 0] = sure[b]
                    true_log_prob[row][plan.query[row] >= 0] = true[b]
            answered += len(answers.episodes)
            if on_episodes:
                on_episodes(answered)
    return EpisodeLog(
        class_ids=plan.classes,
        support_ids=plan.support,
        query_ids=plan.query,
        correct=correct,
        class_sizes=np.bincount(store.labels, minlength=len(store.class_names)),
        base_class=store.base_class,
        group=store.group,
        base_image=store.base_image,
        version=plan.version,
        seed=plan.seed,
        start=plan.start,
        confidence=confidence,
        true_log_prob=true_log_prob,
    )


def validation(
    store: Pool, spec: EpisodeSpec, *, episodes: int, seed: int, device: torch.device | str = "cpu"
) -> Callable[[Learner], Validation]:
    """A function that gives every learner the same validation episodes.

    Its loss is the mean query cross-entropy. Only the images that the episodes use are embedded, and nothing is kept.
    """
    sampler = episode_sampler(store, spec, seed)
    where = torch.device(device)
    images = store.fetcher(where)
    plan = sampler.plan(0, -(-episodes // CHUNK) * CHUNK)
    used = np.unique(np.concatenate([plan.support.ravel(), plan.query.ravel()]))
    used = used[used >= 0]
    place = torch.full((len(store.labels),), -1, dtype=torch.int64)
    place[torch.from_numpy(used)] = torch.arange(len(used))

    def validate(learner: Learner) -> Validation:
        losses, accuracies = np.zeros(episodes), np.zeros(episodes)
        with _evaluating(learner):
            fetch, embedded = images, _embeds_once(learner)
            if _embeds_once(learner):
                features = _rows_of(embed(learner, images, torch.from_numpy(used)))
                fetch = lambda items: features(place[items])  # noqa: E731
            for answers in _answers(learner, sampler, fetch, 0, episodes, device=where, embedded=embedded):
                losses[answers.episodes] = (
                    torch.nn.functional.cross_entropy(answers.logits.transpose(1, 2), answers.labels, reduction="none")
                    .double()
                    .mean(1)
                    .cpu()
                )
                accuracies[answers.episodes] = (answers.logits.argmax(-1) == answers.labels).double().mean(1).cpu()
        return Validation(loss=float(losses.mean()), accuracy=float(accuracies.mean()))

    return validate


def episode_sampler(store: Pool, spec: EpisodeSpec, seed: int) -> EpisodeSampler:
    """The sampler over a store; one rotation of a character an episode where the store asks for that."""
    return EpisodeSampler(store.labels, spec, seed=seed, groups=store.episode_groups)


def _answers(
    learner: Learner, sampler: EpisodeSampler, fetch: Fetch, start: int, count: int, *, device: torch.device, embedded: bool
) -> Iterator[Answers]:
    """Answers to episodes `start .. start + count`; `embedded`: `fetch` gives features."""
    witness = Witness(learner)
    for low in range(start - start % CHUNK, start + count, CHUNK):
        plan = sampler.plan(low, CHUNK)
        for rows, _ in plan.shapes():
            batch = gather(plan, rows, fetch, device=device)
            try:
                logits = _answer(learner, batch, witness, embedded=embedded)
            except LearnerError as error:
                raise _located(error, learner, plan, rows, fetch, witness, device=device, embedded=embedded) from error.__cause__
            asked = (low + rows >= start) & (low + rows < start + count)
            if asked.any():
                yield Answers((low + rows)[asked], logits[asked], batch.query.y[asked])


def _answer(learner: Learner, batch: EpisodeBatch, witness: Witness, *, embedded: bool) -> Tensor:
    """Checked logits (B, q, ways).

    Raises:
        LearnerError: saying which promise is broken; not on which episode.
    """
    name = type(learner).__name__
    with witness.watching(batch):
        try:
            if embedded and isinstance(learner, FeatureLearner):
                logits = learner.adapt_features(batch.support, batch.ways)(batch.query.x)
            elif learner.tags().stochastic:
                logits = torch.stack([_reseeded(learner, batch, b) for b in range(len(batch))])
            else:
                logits = learner.predict(batch.support, batch.query.x, batch.ways)
        except MetashotError as error:
            raise LearnerError(str(error)) from error
        except Exception as error:
            advice = _ENABLE if "does not require grad" in str(error) else ""
            raise LearnerError(f"{name} failed: {described(error)}{advice}") from error
    wanted = (*batch.query.y.shape, batch.ways)
    if not isinstance(logits, Tensor) or logits.shape != wanted:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise LearnerError(f"{name} must answer with logits of shape (episodes, queries, ways) = {wanted}; got {found}.")
    if not logits.is_floating_point():
        raise LearnerError(f"{name} must answer with floating-point logits, one score a class; got {logits.dtype}.")
    if logits.device != batch.query.y.device:
        raise LearnerError(
            f"{name} must answer where the episode is, on {batch.query.y.device}; its logits are on {logits.device}. "
            "Make tensors on support.x.device, and register those that the learner keeps (register_buffer)."
        )
    if not logits.isfinite().all():
        raise LearnerError(f"{name} answers with logits that are not finite; look for a logarithm or a division by zero.")
    return logits


def _located(
    error: LearnerError,
    learner: Learner,
    plan: EpisodePlan,
    rows: np.ndarray,
    fetch: Fetch,
    witness: Witness,
    *,
    device: torch.device,
    embedded: bool,
) -> LearnerError:
    """What went wrong with some of the episodes in `rows`, with the first that goes wrong alone; else, with all of them."""
    for row in rows if len(rows) > 1 else ():
        try:
            _answer(learner, gather(plan, np.array([row]), fetch, device=device), witness, embedded=embedded)
        except LearnerError as alone:
            return _on(f"episode {plan.start + row}", alone)
    return _on(
        f"episodes {plan.start + rows[0]} to {plan.start + rows[-1]} together" if len(rows) > 1 else f"episode {plan.start + rows[0]}",
        error,
    )


def _on(episodes: str, error: LearnerError) -> LearnerError:
    located = LearnerError(f"On {episodes}: {error}")
    located.__cause__ = error.__cause__
    return located


def _reseeded(learner: Learner, batch: EpisodeBatch, episode: int) -> Tensor:
    """(q, ways): one episode of a stochastic learner, under a global generator that its own seed sets."""
    support = batch.support[episode]
    with seeded(support.seed, "stochastic"):
        return answered(learner, support, batch.query.x[episode], batch.ways)


def _embeds_once(learner: Learner) -> TypeGuard[FeatureLearner]:
    """Whether embeddings and `adapt_features` give the learner's own answers: not if it overrides what goes round them."""
    if not isinstance(learner, FeatureLearner) or not learner.cacheable or learner.tags().stochastic:
        return False
    return type(learner).predict is FeatureLearner.predict and type(learner).adapt is FeatureLearner.adapt


def _rows_of(features: Tensor) -> Fetch:
    return lambda items: features[items.to(features.device)]


@contextmanager
def _evaluating(learner: Learner) -> Iterator[None]:
    """Eval mode without gradients inside; every module's mode as it was outside."""
    modes = {module: module.training for module in learner.modules()}
    learner.eval()
    try:
        if staying := [name or "itself" for name, module in learner.named_modules() if module.training]:
            raise LearnerError(
                f"{type(learner).__name__} stays in train mode after eval(): {', '.join(staying[:3])}. "
                "Answers would depend on what is answered together; leave `train` as torch has it."
            )
        with torch.no_grad():  # not inference_mode: learners must be able to turn gradients back on
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
