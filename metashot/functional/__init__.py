"""Pure tensor mathematics, one idea a file."""

from .augmentation import Change as Change
from .augmentation import augmented as augmented
from .augmentation import check_augmentations as check_augmentations
from .batch_norm import Source as Source
from .batch_norm import Statistics as Statistics
from .batch_norm import normalised as normalised
from .batch_norm import with_batch_statistics as with_batch_statistics
from .distances import cosine as cosine
from .distances import squared_euclidean as squared_euclidean
from .head_fit import drawn_orders as drawn_orders
from .head_fit import fit_head as fit_head
from .heads import cosine_head as cosine_head
from .heads import linear_head as linear_head
from .heads import prototype_directions as prototype_directions
from .heads import prototype_linear as prototype_linear
from .heads import random_linear as random_linear
from .inner_loop import Loss as Loss
from .inner_loop import Weights as Weights
from .inner_loop import adaptive_inner_loop as adaptive_inner_loop
from .inner_loop import inner_loop as inner_loop
from .logistic import logistic as logistic
from .logistic import logistic_loss as logistic_loss
from .normalise import normalise as normalise
from .prototypes import prototypes as prototypes
from .ridge import ridge as ridge
