"""Learners: one paper a file, on base classes."""

from .anil import ANIL as ANIL
from .base import FeatureLearner as FeatureLearner
from .base import Learner as Learner
from .base import LearnerTags as LearnerTags
from .base import Predictor as Predictor
from .base import answered as answered
from .boil import BOIL as BOIL
from .gradient import GradientLearner as GradientLearner
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
