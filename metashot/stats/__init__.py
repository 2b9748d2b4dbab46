"""Intervals that say what they are over, from per-episode records."""

from .binomial import korn_graubard as korn_graubard
from .calibration import Calibration as Calibration
from .calibration import Measure as Measure
from .calibration import calibration as calibration
from .comparison import Comparison as Comparison
from .comparison import compare as compare
from .comparison import mean_difference as mean_difference
from .confidence_sequence import asymptotic_cs as asymptotic_cs
from .confidence_sequence import cs_half_width as cs_half_width
from .intervals import Interval as Interval
from .intervals import interval as interval
from .intervals import mean_interval as mean_interval
from .log import EpisodeLog as EpisodeLog
from .planning import Plan as Plan
from .planning import episodes_needed as episodes_needed
from .planning import plan as plan
from .stopping import Look as Look
from .stopping import compare_until as compare_until
from .stopping import guarded_half_width as guarded_half_width
from .stopping import run_until as run_until
from .stopping import stopped_interval as stopped_interval
