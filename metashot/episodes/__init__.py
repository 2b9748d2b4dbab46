"""Episodes: N-way K-shot tasks as a pure function of labels, specification, groups, seed and index."""

from .batch import EpisodeBatch as EpisodeBatch
from .batch import Examples as Examples
from .folds import fold_plan as fold_plan
from .loader import EpisodeLoader as EpisodeLoader
from .loader import gather as gather
from .plan import EpisodePlan as EpisodePlan
from .sampler import STREAM_VERSION as STREAM_VERSION
from .sampler import EpisodeSampler as EpisodeSampler
from .spec import EpisodeSpec as EpisodeSpec
