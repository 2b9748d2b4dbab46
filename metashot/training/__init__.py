"""Training of learners: episodes, supervised classes, schedules, checkpoints that resume to the same bits."""

from .checkpoints import Checkpoints as Checkpoints
from .meta_train import Progress as Progress
from .meta_train import Trained as Trained
from .meta_train import Validation as Validation
from .meta_train import meta_step as meta_step
from .meta_train import meta_train as meta_train
from .schedules import Schedule as Schedule
from .schedules import constant as constant
from .schedules import cosine as cosine
from .schedules import linear as linear
from .schedules import step_decay as step_decay
from .supervised import Classifier as Classifier
from .supervised import Pretrained as Pretrained
from .supervised import pretrain as pretrain
