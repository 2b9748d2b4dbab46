"""Networks from items to features, and how each was published."""

from .conv4 import Conv4 as Conv4
