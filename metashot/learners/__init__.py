"""Learners: one paper a file, on two base classes."""

from .base import FeatureLearner as FeatureLearner
from .base import Learner as Learner
from .base import LearnerTags as LearnerTags
from .base import Predictor as Predictor
from .base import answered as answered
from .gradient import GradientLearner as GradientLearner
from .linear_probe import LinearProbe as LinearProbe
from .logistic import Logistic as Logistic
from .maml import MAML as MAML
from .protonet import ProtoNet as ProtoNet
from .ridge import Ridge as Ridge
from .simpleshot import SimpleShot as SimpleShot
