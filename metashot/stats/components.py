"""Where the variance of a mean accuracy comes from."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import StatisticsError
from .classes import class_variance
from .images import image_variance
from .log import EpisodeLog
from .records import averaged, paired_records
from .seeds import mean_squares


@dataclass(frozen=True)
class VarianceComponents:
    """Parts of the variance of the mean accuracy, in squared percentage points; NaN where the records cannot tell, and `reasons` says why.

    Estimates are unbiased rather than positive: a part that is small may come out negative.

    Attributes:
        mc: of the sampler's draws; the only part that more episodes shrink.
        images_query, images_support, images_cross: of the images, as queries, as support, and because an image is both.
        classes: of the classes and their images; it contains the parts of the images.
        seeds: of the training runs. residual: of what runs and episodes do together.
        reasons: part -> why it is NaN.
    """

    mc: float
    images_query: float
    images_support: float
    images_cross: float
    classes: float
    seeds: float
    residual: float
    reasons: dict[str, str]


def variance_components(log: EpisodeLog | Sequence[EpisodeLog], *, transductive: bool = False) -> VarianceComponents:
    """The parts of the variance of a log's mean accuracy, or of the mean over several runs on the same episodes.

    Raises:
        StatisticsError: if there are no queries, or several logs are not of the same episodes.
    """
    runs = paired_records(log)
    mean = averaged(runs)
    if not len(mean):
        raise StatisticsError("Variance components need at least one episode with queries; got none.")
    images, classes = image_variance(mean, transductive=transductive), class_variance(mean)
    reasons = {"images_query": images.reason, "images_support": images.reason, "images_cross": images.reason, "classes": classes.reason}
    seeds = residual = float("nan")
    if len(runs) > 1 and len(mean) > 1:
        squares = mean_squares(runs)
        cells = squares.n_runs * squares.n_episodes
        seeds, residual = (squares.runs - squares.residual) / cells, squares.residual / cells
    else:
        reasons["seeds"] = reasons["residual"] = "one run" if len(runs) == 1 else "one episode"
    if len(mean) == 1:
        reasons["mc"] = "one episode has no spread"
    points = 100.0**2
    return VarianceComponents(
        mc=points * mean.mc_variance,
        images_query=points * images.query,
        images_support=points * images.support,
        images_cross=points * images.cross,
        classes=points * (classes.jackknife - classes.noise),
        seeds=points * seeds,
        residual=points * residual,
        reasons={name: reason for name, reason in reasons.items() if reason},
    )
