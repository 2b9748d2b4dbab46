"""Learners: one paper a file, on two base classes."""

from .base import FeatureLearner as FeatureLearner
from .base import Learner as Learner
from .base import LearnerTags as LearnerTags
from .base import Predictor as Predictor
from .base import answered as answered
from .finetune import FineTune as FineTune
from .finetuned import FineTuned as FineTuned
from .finetuned import Phase as Phase
from .gradient import GradientLearner as GradientLearner
from .layer_groups import LayerGroup as LayerGroup
from .layer_groups import group_of as group_of
from .layer_groups import layer_groups as layer_groups
from .linear_probe import LinearProbe as LinearProbe
from .logistic import Logistic as Logistic
from .maml import MAML as MAML
from .protonet import ProtoNet as ProtoNet
from .ridge import Ridge as Ridge
from .simpleshot import SimpleShot as SimpleShot
