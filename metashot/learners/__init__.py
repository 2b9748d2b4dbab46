"""Learners: one paper a file, on two base classes."""

from .base import FeatureLearner as FeatureLearner
from .base import Learner as Learner
from .base import LearnerTags as LearnerTags
from .base import Predictor as Predictor
from .base import answered as answered
from .gradient import GradientLearner as GradientLearner
from .maml import MAML as MAML
from .protonet import ProtoNet as ProtoNet
