"""Networks from items to features, and how each was published."""

from .at_hand import collections_with as collections_with
from .at_hand import trained_backbone as trained_backbone
from .conv4 import Conv4 as Conv4
from .efficientnet_lite import efficientnet_lite0 as efficientnet_lite0
from .preprocessing import Preprocessing as Preprocessing
from .pretrained import Pretrained as Pretrained
from .timm import timm_backbone as timm_backbone
from .torchvision import torchvision_backbone as torchvision_backbone
