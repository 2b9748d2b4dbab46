"""What is varied in each experiment. A replicate is a function of its number alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import comparators
import numpy as np
import worlds

from metashot.episodes import EpisodeSpec, fold_plan
from metashot.stats import EpisodeLog, compare, interval, mean_difference, mean_interval
from metashot.stats.records import Records
from metashot.stats.scopes import spread

Found = tuple[float, float, float]  # estimate, lower, upper
Estimator = Callable[[Sequence[EpisodeLog]], Found]
Draw = Callable[[np.random.Generator], list[worlds.Pool]]


def ours(scope: str, **options: Any) -> Estimator:
    """The library's interval."""

    def estimate(logs: Sequence[EpisodeLog]) -> Found:
        found = interval(logs[0] if len(logs) == 1 else logs, scope, **options)
        return found.estimate, found.lower, found.upper

    return estimate


def without_groups(scope: str) -> Estimator:
    """The library's interval as if the groups of the classes were not known."""
    return lambda logs: ours(scope)([replace(log, group=np.full(len(log.group), -1)) for log in logs])


def first_of(estimator: Callable[[EpisodeLog], Found]) -> Estimator:
    return lambda logs: estimator(logs[0])


NAIVE = {"naive": first_of(comparators.naive)}
IMAGES = {**NAIVE, "query images only": first_of(comparators.query_clustered), "images": ours("images")}
CLASSES = {**NAIVE, "images": ours("images"), "classes": ours("classes")}


def stream(experiment: str, purpose: str, index: int) -> np.random.Generator:
    """Random numbers of one replicate, or one part of the truth, of an experiment."""
    return np.random.default_rng([crc32(experiment.encode()), crc32(purpose.encode()), index])


@dataclass(frozen=True)
class Experiment:
    """One world, one kind of episode, several estimators.

    Attributes:
        name: of the result file. what: for the reader.
        draw: new pools, one for each training run, of the same images.
        spec: of the episodes. episodes: how many, each a prefix of the largest.
        estimators: by name. folded: of episodes drawn in folds, as many as `folded_episodes`.
        replicates: how many at most.
        truth: the true accuracy, if it is known exactly, or what finds it; otherwise it is the mean over pools of a stream of their own.
    """

    name: str
    what: str
    draw: Draw
    spec: EpisodeSpec
    episodes: tuple[int, ...]
    estimators: Mapping[str, Estimator]
    replicates: int = 200
    target: Callable[[Sequence[float]], float] = np.mean  # of the pools' accuracies: what is estimated
    truth: float | Callable[[], tuple[float, float]] | None = None
    folded: Mapping[str, Estimator] = field(default_factory=dict)
    folded_episodes: int = 2000

    def random(self, purpose: str, index: int) -> np.random.Generator:
        return stream(self.name, purpose, index)

    def replicate(self, index: int) -> dict[str, Found]:
        """`<episodes>|<estimator>` -> what was found."""
        random = self.random("replicate", index)
        pools = self.draw(random)
        plan = pools[0].plan(self.spec, max(self.episodes), int(random.integers(2**62)))
        logs = [pool.log(plan, random) for pool in pools]
        found = {
            f"{n}|{name}": estimate([log.first(n) for log in logs]) for n in self.episodes for name, estimate in self.estimators.items()
        }
        if self.folded:
            n, pool = self.folded_episodes, pools[0]
            labels = np.repeat(np.arange(len(pool.sizes)), pool.sizes)
            plan = fold_plan(labels, self.spec, n, seed=int(random.integers(2**62)), base_image=pool.base_image)
            log = [pool.log(plan, random)]
            found |= {f"{n}|{name}": estimate(log) for name, estimate in self.folded.items()}
        return found

    def true_value(self, pools: int = 400, episodes: int = 200) -> tuple[float, float]:
        """The true accuracy and its standard error."""
        if self.truth is not None:
            return self.truth() if callable(self.truth) else (self.truth, 0.0)
        means = []
        for index in range(pools):
            random = self.random("truth", index)
            drawn = self.draw(random)
            plan = drawn[0].plan(self.spec, episodes, int(random.integers(2**62)))
            means.append(self.target([pool.log(plan, random).accuracies.mean() for pool in drawn]))
        return float(np.mean(means)), float(np.std(means, ddof=1) / np.sqrt(pools))


@dataclass(frozen=True)
class Scores:
    """An experiment without images: `simulate(random) -> found`, truth known."""

    name: str
    what: str
    simulate: Callable[[np.random.Generator], dict[str, Found]]
    truth: float
    replicates: int

    def replicate(self, index: int) -> dict[str, Found]:
        return self.simulate(stream(self.name, "replicate", index))

    def true_value(self) -> tuple[float, float]:
        return self.truth, 0.0


# --- pools


def fixed(sizes: Sequence[int] | np.ndarray, **options: Any) -> Draw:
    """New images of the same classes."""
    sizes = np.asarray(sizes)
    classes = worlds.fixed_classes() if len(sizes) == 20 else worlds.proto_classes(np.random.default_rng(12345), len(sizes))
    return lambda random: [worlds.proto_pool(random, classes, sizes, **options)[0]]


def fresh(sizes: Sequence[int] | np.ndarray, *, groups: np.ndarray | None = None, share: float = 0.0, **options: Any) -> Draw:
    """New classes and new images."""
    sizes = np.asarray(sizes)

    def draw(random: np.random.Generator) -> list[worlds.Pool]:
        classes = worlds.proto_classes(random, len(sizes), groups=groups, share=share)
        return [worlds.proto_pool(random, classes, sizes, **options)[0]]

    return draw


def transductive(learner: worlds.Learner, size: int = 600) -> Draw:
    """New images of the fixed classes, for a learner that sees the queries together."""

    def draw(random: np.random.Generator) -> list[worlds.Pool]:
        pool, features = worlds.proto_pool(random, worlds.fixed_classes(), np.full(20, size))
        return [pool.asking(learner, features)]

    return draw


def trained(runs: int, *, new_classes: bool, spread: float) -> Draw:
    """Several training runs, each of which weighs the features anew, on the same new images."""

    def draw(random: np.random.Generator) -> list[worlds.Pool]:
        classes = worlds.proto_classes(random, 20) if new_classes else worlds.fixed_classes()
        pool, features = worlds.proto_pool(random, classes, np.full(20, 600))
        weights = np.exp(spread * random.standard_normal((runs, worlds.DIMENSIONS))).astype(np.float32)
        return [pool.asking(worlds.weighted(each), features) for each in weights]

    return draw


def two_learners(random: np.random.Generator) -> list[worlds.Pool]:
    """A learner, and one that does without the last two features."""
    pool, features = worlds.proto_pool(random, worlds.fixed_classes(), np.full(20, 600))
    fewer = np.ones(worlds.DIMENSIONS, dtype=np.float32)
    fewer[-2:] = 0
    return [pool, pool.asking(worlds.weighted(fewer), features)]


def additive(random: np.random.Generator) -> list[worlds.Pool]:
    return [worlds.additive_pool(random, _ADDITIVE, 600)[0]]


_ADDITIVE = worlds.additive_classes(np.random.default_rng(12345))
_UNEQUAL = np.round(np.geomspace(30, 1200, 20)).astype(int)[np.random.default_rng(1).permutation(20)]  # spread, not sorted


def alphabets(classes: int, groups: int) -> np.ndarray:
    """(classes,) the group of each class, of unequal sizes as Omniglot's alphabets are."""
    shares = np.linspace(0.5, 1.5, groups)
    return np.sort(np.searchsorted(np.cumsum(shares / shares.sum()), (np.arange(classes) + 0.5) / classes)).clip(max=groups - 1)


# --- scores without images


def crossed_runs(random: np.random.Generator) -> dict[str, Found]:
    """R runs of n = 600 shared episodes, normal effects of run and episode; three spreads over seeds, three R."""
    found = {}
    for runs in (3, 5, 10):
        for sigma in (0.0, 0.005, 0.02):
            table = 0.65 + sigma * random.standard_normal((runs, 1)) + 0.08 * random.standard_normal(600)
            table = table + 0.05 * random.standard_normal((runs, 600))
            estimate, pooled = table.mean(), comparators.Z * table.std(ddof=1) / np.sqrt(table.size)
            half = spread([Records.of_accuracies(row) for row in table], "seeds").half_width(0.95)
            found[f"{runs} runs, seed sd {100 * sigma:g}|pooled episodes"] = (estimate, estimate - pooled, estimate + pooled)
            found[f"{runs} runs, seed sd {100 * sigma:g}|seeds"] = (estimate, estimate - half, estimate + half)
    return {key: tuple(map(float, value)) for key, value in found.items()}  # type: ignore[misc]  # three each


def near_one(n: int, imperfect: float) -> Callable[[np.random.Generator], dict[str, Found]]:
    """n episodes, a share of which has one, two or three wrong answers of 20."""

    def simulate(random: np.random.Generator) -> dict[str, Found]:
        wrong = np.where(random.random(n) < imperfect, random.integers(1, 4, n) / 20, 0)
        found, half = mean_interval(1 - wrong), comparators.Z * wrong.std(ddof=1) / np.sqrt(n)
        mean = float(1 - wrong.mean())
        return {f"{n}|naive": (mean, mean - half, mean + half), f"{n}|episodes": (found.estimate, found.lower, found.upper)}

    return simulate


def rare_differences(random: np.random.Generator) -> dict[str, Found]:
    """600 paired differences, of which few are not 0; the truth is taken off, so that it is 0 for all."""
    found = {}
    for expected in (5, 10, 20, 50):
        values = np.where(random.random(600) < expected / 600, random.choice([1, 2, 3, -1], 600) / 75, 0)
        truth, made = expected / 600 * 1.25 / 75, mean_difference(values)
        key = f"600, {expected} differ|episodes"
        found[key] = (made.difference - truth, made.lower - truth, made.upper - truth)
    return found


def difference(scope: str) -> Estimator:
    def estimate(logs: Sequence[EpisodeLog]) -> Found:
        found = compare(logs[0], logs[1], scope=scope)
        return found.difference, found.lower, found.upper

    return estimate


# --- the list

SHORT, FULL = (150, 600, 2000), (150, 600, 2000, 10_000)
ONE, FIVE = EpisodeSpec(5, 1, 15), EpisodeSpec(5, 5, 15)
FOLDS = {"folds": ours("images", method="folds")}
_OMNIGLOT = {"images": ours("images"), **NAIVE}
_TRANSDUCTIVE = {**NAIVE, "images": ours("images"), "images, transductive": ours("images", transductive=True)}
_SEES_QUERIES = (
    ("refined", "means refined by the queries", worlds.refined_mean),
    ("centred", "queries normalised together", worlds.centred_mean),
)


def experiments() -> list[Any]:
    """All experiments, those that another simulation can be set beside first."""
    return [
        Experiment("images-proto-1shot", "20 classes of 600, 1 shot", fixed([600] * 20), ONE, FULL, IMAGES, 330, folded=FOLDS),
        Experiment(
            "classes-proto-1shot",
            "20 new classes of 600, 1 shot",
            fresh([600] * 20),
            ONE,
            FULL[1:],
            {**CLASSES, "clustered by class": first_of(comparators.clustered_by_class)},
            380,
            truth=worlds.proto_truth,
        ),
        Experiment("images-proto-5shot", "20 classes of 600, 5 shots", fixed([600] * 20), FIVE, FULL, IMAGES, 240, folded=FOLDS),
        Experiment(
            "images-additive", "20 classes of 600, exact truth", additive, ONE, FULL, IMAGES, 240, truth=float(0.65 + _ADDITIVE.mean())
        ),
        Scores("seeds-crossed", "600 shared episodes, normal effects", crossed_runs, 0.65, 1000),
        *(
            Scores(f"near-one-{n}-{100 * share:g}", f"{n} episodes, {share:.0%} imperfect", near_one(n, share), 1 - 0.1 * share, 1500)
            for n, share in ((100, 0.06), (600, 0.06), (600, 0.01), (10_000, 0.01))
        ),
        Scores("paired-rare", "600 paired differences, few not 0", rare_differences, 0.0, 1500),
        Experiment(
            "paired-proto",
            "difference of two learners",
            two_learners,
            ONE,
            (2000,),
            {"naive": difference("episodes"), "images": difference("images")},
            200,
            target=lambda both: both[0] - both[1],
        ),
        *not_in_the_specification(),
    ]


def not_in_the_specification() -> list[Any]:
    """What no other simulation has tried."""
    found = [
        Experiment(
            "images-unequal-1shot",
            "20 classes of 30 to 1,200",
            fixed(_UNEQUAL),
            ONE,
            (600, 2000),
            {**NAIVE, "images": ours("images")},
            150,
        ),
        Experiment("images-small-1shot", "20 classes of 20, 16 used", fixed([20] * 20), ONE, SHORT, _OMNIGLOT, 300),
        Experiment("images-small-5shot", "20 classes of 20, all used", fixed([20] * 20), FIVE, SHORT, _OMNIGLOT, 300),
        Experiment("images-omniglot-1shot", "423 x 4 rotations of 20", fixed([20] * 423, rotations=4), ONE, (600, 2000), _OMNIGLOT, 100),
        Experiment("images-omniglot-5shot", "423 x 4 rotations of 20", fixed([20] * 423, rotations=4), FIVE, (600, 2000), _OMNIGLOT, 100),
        Experiment(
            "images-easy-omniglot-5shot",
            "the same, near 99 %",
            fixed([20] * 423, rotations=4, scale=0.45),
            FIVE,
            (600, 2000),
            _OMNIGLOT,
            100,
        ),
    ]
    found += [
        Experiment(
            f"transductive-{name}-{k}shot",
            f"{what}, {k} shot{'s' if k > 1 else ''}",
            transductive(learner),
            EpisodeSpec(5, k, 15),
            (600, 2000),
            _TRANSDUCTIVE,
            300,
            folded=FOLDS,
        )
        for name, what, learner in _SEES_QUERIES
        for k in (1, 5)
    ]
    found += [
        Experiment(
            f"transductive-{name}-small-{m}queries",
            f"{what}, 20 classes of 20, {m + 1} used",
            transductive(learner, 20),
            EpisodeSpec(5, 1, m),
            (600, 2000),
            _TRANSDUCTIVE,
            300,
        )
        for name, what, learner in _SEES_QUERIES
        for m in (5, 15)
    ]
    found += [
        Experiment(
            f"classes-{c}",
            f"{c} new classes of {size}",
            fresh([size] * c),
            ONE,
            (600, 2000),
            {"classes": ours("classes"), **NAIVE},
            300,
            truth=worlds.proto_truth,
        )
        for c, size in ((6, 100), (7, 100), (10, 100), (16, 100), (64, 100), (423, 20))
    ]
    found += [
        Experiment(
            "classes-20-10way",
            "20 new classes, 10 ways",
            fresh([100] * 20),
            EpisodeSpec(10, 1, 15),
            (600, 2000),
            {"classes": ours("classes"), **NAIVE},
            300,
        )
    ]
    found += [
        Experiment(
            f"groups-{c}-in-{g}-{share:g}",
            f"{c} new classes in {g} new groups that share {share:.0%}",
            fresh([50 if c == 160 else 20] * c, groups=alphabets(c, g), share=share),
            ONE,
            (600, 2000),
            {**NAIVE, "classes": ours("classes"), "classes, groups ignored": without_groups("classes")},
            300,
        )
        for c, g, share in ((160, 8, 0.5), (423, 20, 0.5), (423, 20, 0.0), (100, 20, 0.3))
    ]
    found += [
        Experiment(
            f"seeds-images-{r}",
            f"{r} runs, new images",
            trained(r, new_classes=False, spread=0.25),
            ONE,
            (600, 2000),
            {"seeds": ours("seeds"), "images": ours("images"), "seeds+images": ours("seeds+images")},
            200,
        )
        for r in (3, 5)
    ]
    found += [
        Experiment(
            "seeds-classes-3",
            "3 runs, new classes",
            trained(3, new_classes=True, spread=0.25),
            ONE,
            (600, 2000),
            {"seeds": ours("seeds"), "classes": ours("classes"), "seeds+classes": ours("seeds+classes")},
            200,
        ),
    ]
    return found
