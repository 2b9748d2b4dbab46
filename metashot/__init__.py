"""metashot: few-shot learning in PyTorch, from the episode sampler to a benchmark table with intervals.

The public names are resolved when they are first asked for, so that `import metashot` and the command line start without torch.
"""

from typing import TYPE_CHECKING

# Where each public name lives; the imports below say the same to type checkers (tests/test_package.py compares the two). A function that
# bears its module's name is taken from the module: re-exported under that name, mypy finds it defined twice.
_HOMES = {
    "Conv4": "backbones",
    "EpisodeBatch": "episodes",
    "EpisodeLoader": "episodes",
    "EpisodeLog": "stats",
    "EpisodePlan": "episodes",
    "EpisodeSampler": "episodes",
    "EpisodeSpec": "episodes",
    "Examples": "episodes",
    "FeatureLearner": "learners",
    "FineTune": "learners",
    "GradientLearner": "learners",
    "ImageStore": "data",
    "Interval": "stats",
    "Learner": "learners",
    "LearnerTags": "learners",
    "LinearProbe": "learners",
    "Logistic": "learners",
    "MAML": "learners",
    "MetashotError": "errors",
    "PictureClassifier": "harness.picture_classifier",
    "Predictor": "learners",
    "ProtoNet": "learners",
    "Ridge": "learners",
    "SimpleShot": "learners",
    "classify": "harness.classify",
    "evaluate": "harness.evaluate",
    "generator": "seeding",
    "interval": "stats",
    "make_store": "data",
    "meta_train": "training.meta_train",
    "pretrain": "training",
    "register_backbone": "registry",
    "register_dataset": "registry",
    "register_learner": "registry",
    "wrapped": "data",
}

# Modules that are imported when they are first asked for by attribute, as `metashot.learners`.
_MODULES = (
    *("backbones", "data", "episodes", "functional", "harness", "interop", "learners", "stats", "testing", "training"),
    *("errors", "plots", "registry", "seeding"),
)

if TYPE_CHECKING:
    from .backbones import Conv4 as Conv4
    from .data import ImageStore as ImageStore
    from .data import make_store as make_store
    from .data import wrapped as wrapped
    from .episodes import EpisodeBatch as EpisodeBatch
    from .episodes import EpisodeLoader as EpisodeLoader
    from .episodes import EpisodePlan as EpisodePlan
    from .episodes import EpisodeSampler as EpisodeSampler
    from .episodes import EpisodeSpec as EpisodeSpec
    from .episodes import Examples as Examples
    from .errors import MetashotError as MetashotError
    from .harness.classify import classify as classify
    from .harness.evaluate import evaluate as evaluate
    from .harness.picture_classifier import PictureClassifier as PictureClassifier
    from .learners import MAML as MAML
    from .learners import FeatureLearner as FeatureLearner
    from .learners import FineTune as FineTune
    from .learners import GradientLearner as GradientLearner
    from .learners import Learner as Learner
    from .learners import LearnerTags as LearnerTags
    from .learners import LinearProbe as LinearProbe
    from .learners import Logistic as Logistic
    from .learners import Predictor as Predictor
    from .learners import ProtoNet as ProtoNet
    from .learners import Ridge as Ridge
    from .learners import SimpleShot as SimpleShot
    from .registry import register_backbone as register_backbone
    from .registry import register_dataset as register_dataset
    from .registry import register_learner as register_learner
    from .seeding import generator as generator
    from .stats import EpisodeLog as EpisodeLog
    from .stats import Interval as Interval
    from .stats import interval as interval
    from .training import pretrain as pretrain
    from .training.meta_train import meta_train as meta_train

    __version__: str
else:  # hidden from type checkers, which would otherwise believe that every name exists

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            return version("metashot")
        if name in _HOMES or name in _MODULES:
            from importlib import import_module

            module = import_module(f".{_HOMES.get(name, name)}", __name__)
            return getattr(module, name) if name in _HOMES else module
        raise AttributeError(f"module 'metashot' has no attribute {name!r}")  # Python itself suggests the nearest

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOMES, *_MODULES, "__version__"})
