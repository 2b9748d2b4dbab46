"""Whether an answer depends on what it must not: the order of the support, the names of classes, the other queries."""

from functools import partial

import torch
from torch import Tensor

from ..episodes import Examples
from ..learners import Learner
from ..seeding import generator
from .answer_checks import adapted, answer
from .differences import must_agree
from .generators import aligned
from .promise import promise
from .tasks import Episode, Task


@promise("the order of the support items does not matter", draws_line_up=False)
def check_support_order(learner: Learner, task: Task) -> None:
    """An episode that comes class by class and one that does not, each also in another order."""
    for seed in (0, 1):
        episode = task(seed)
        support = episode.support
        order = _drawn_order(len(support))
        other = Examples(support.x[order], support.y[order], support.seed)
        asked = partial(answer, learner, episode)
        wanted = asked().clone()
        must_agree(
            answer(learner, Episode(other, episode.query, episode.ways)),
            wanted,
            otherwise="permuting the support items changed the answer; find each class by its label (`support.x[support.y == c]`), not by "
            "its place.",
            again=asked,
        )


@promise("renaming the classes permutes the logits and changes nothing else", draws_line_up=False)
def check_label_symmetry(learner: Learner, task: Task) -> None:
    """Class c becomes class `names[c]`, and so does its column."""
    for seed in (0, 1):
        episode = task(seed)
        support = episode.support
        names = torch.roll(torch.arange(episode.ways), 1)  # (ways,); no class keeps its name
        renamed = Examples(support.x.clone(), names[support.y], support.seed)
        asked = partial(answer, learner, episode)
        wanted = asked().clone()
        must_agree(
            answer(learner, Episode(renamed, episode.query, episode.ways))[:, names],
            wanted,
            otherwise="renaming the classes did more than permute the columns. If that is the method, as with a meta-learned head that has "
            "a fixed row for each label, say so: LearnerTags(label_symmetric=False).",
            again=asked,
        )


@promise("a query's logits do not depend on the other queries", draws_line_up=False)
def check_queries_independent(learner: Learner, task: Task) -> None:
    """One query at a time, against all at once."""
    episode = task()
    with aligned():
        predictor = adapted(learner, episode.support, episode.ways)

    def ask(x: Tensor) -> Tensor:
        with aligned():
            return predictor(x)

    together = ask(episode.query.x).clone()
    alone = torch.cat([ask(x[None]) for x in episode.query.x])
    must_agree(
        alone,
        together,
        otherwise="queries asked one at a time got other logits than all at once; look for a mean or a normalisation over the queries, or "
        "a batch norm in train mode. If that is the method, say so: LearnerTags(transductive=True).",
        again=lambda: ask(episode.query.x),
    )


def _drawn_order(count: int) -> Tensor:
    return torch.randperm(count, generator=generator(0, "another order"))
