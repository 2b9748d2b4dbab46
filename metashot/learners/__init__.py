"""Learners: one paper a file, on base classes."""

from .anil import ANIL as ANIL
from .base import FeatureLearner as FeatureLearner
from .base import Learner as Learner
from .base import LearnerTags as LearnerTags
from .base import Predictor as Predictor
from .base import answered as answered
from .boil import BOIL as BOIL
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
from .maml_pp import MAMLPlusPlus as MAMLPlusPlus
from .meta_sgd import MetaSGD as MetaSGD
from .proto_maml import ProtoMAML as ProtoMAML
from .protonet import ProtoNet as ProtoNet
from .reptile import Reptile as Reptile
from .ridge import Ridge as Ridge
from .simpleshot import SimpleShot as SimpleShot
