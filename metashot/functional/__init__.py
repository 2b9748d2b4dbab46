"""Pure tensor mathematics, one idea a file."""

from .batch_norm import Source as Source
from .batch_norm import Statistics as Statistics
from .batch_norm import normalised as normalised
from .batch_norm import with_batch_statistics as with_batch_statistics
from .distances import squared_euclidean as squared_euclidean
from .inner_loop import Loss as Loss
from .inner_loop import Weights as Weights
from .inner_loop import adaptive_inner_loop as adaptive_inner_loop
from .inner_loop import inner_loop as inner_loop
from .prototypes import prototypes as prototypes
