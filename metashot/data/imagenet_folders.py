"""Where ImageNet's training folders usually lie, and which classes are there."""

import os
import re
from pathlib import Path

WNID = re.compile(r"n[0-9]{8}")  # WordNet's number of a noun, by which ImageNet names its classes
PLACES = ("ILSVRC2012_img_train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train", "CLS-LOC/train", "images", ".")  # and `train`


def class_folders(path: Path) -> set[str]:
    """The wnids that have a folder in `path`; none if it cannot be listed."""
    try:
        with os.scandir(path) as entries:
            return {entry.name for entry in entries if WNID.fullmatch(entry.name) and entry.is_dir()}
    except OSError:
        return set()
