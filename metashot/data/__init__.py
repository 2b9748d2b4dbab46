"""Data sets as packed stores: prepared once, checked, memory-mapped."""

from .archives import Limits as Limits
from .archives import Members as Members
from .archives import open_members as open_members
from .archives import read_members as read_members
from .decoding import decode_image as decode_image
from .glyphs import glyphs as glyphs
from .omniglot import omniglot as omniglot
from .places import cache_folder as cache_folder
from .places import find_raw as find_raw
from .prepared import Contents as Contents
from .prepared import build_store as build_store
from .prepared import open_store as open_store
from .store import ImageStore as ImageStore
from .store import joined as joined
from .store import make_store as make_store
