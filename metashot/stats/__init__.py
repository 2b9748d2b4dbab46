"""Intervals that say what they are over, from per-episode records."""

from .binomial import korn_graubard as korn_graubard
from .comparison import Comparison as Comparison
from .comparison import compare as compare
from .comparison import compare_many as compare_many
from .comparison import mean_difference as mean_difference
from .components import VarianceComponents as VarianceComponents
from .components import variance_components as variance_components
from .intervals import Interval as Interval
from .intervals import interval as interval
from .intervals import mean_interval as mean_interval
from .log import EpisodeLog as EpisodeLog
from .multiplicity import holm as holm
from .multiplicity import sign_flip as sign_flip
from .rendering import all_intervals as all_intervals
from .rendering import scope_line as scope_line
