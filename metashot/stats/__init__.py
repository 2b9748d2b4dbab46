"""Intervals that say what they are over, from per-episode records."""

from .binomial import korn_graubard as korn_graubard
from .comparison import Comparison as Comparison
from .comparison import compare as compare
from .comparison import mean_difference as mean_difference
from .intervals import Interval as Interval
from .intervals import interval as interval
from .intervals import mean_interval as mean_interval
from .log import EpisodeLog as EpisodeLog
