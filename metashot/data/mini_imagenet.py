"""miniImageNet: 100 classes of ImageNet, 600 images of each, 84 pixels wide and high.

Proposed in Vinyals, Blundell, Lillicrap, Kavukcuoglu and Wierstra 2016, "Matching networks for one shot learning"; the images and the
64 / 16 / 20 classes in use are those of Ravi and Larochelle 2017, "Optimization as a model for few-shot learning". ImageNet's terms do not
let it be passed on, so it is not downloaded; what people have is read as they have it.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import DataError
from .mini_imagenet_catalogue import PARTS, usual
from .mini_imagenet_layouts import locate
from .pictures import Treatment, split_stores
from .store import ImageStore

_SIDE = 84  # pixels of the images that papers use
_ANY = "any"


def mini_imagenet(
    root: Path | str | None = None, *, size: int = _SIDE, resize: str = "bilinear", images: int | str | None = 600
) -> dict[str, ImageStore]:
    """miniImageNet as one `ImageStore` for each split: 64 classes to train on, 16 to validate and 20 to test.

    Read from `<root>/mini-imagenet` or from `root` itself, in any of these layouts; the same pictures give the same stores.

    1. An archive or a folder for each split: `train.tar.gz` (or `.tgz`, `.tar`, `.zip`, ...) or `train/`, likewise `val` and `test`; in it
       class folders (`n01532829/*.jpg`), or files whose class their name tells (`n01532829_0.jpg`) or a list beside it, `train.csv`.
    2. All images in one folder or archive, `images/` or `images.zip`, with the lists `train.csv`, `val.csv` and `test.csv`.
    3. `mini-imagenet-cache-train.pkl`, `-val.pkl`, `-test.pkl`.
    4. `miniImageNet_category_split_train_phase_train.pickle`, `_val.pickle`, `_test.pickle`.
    5. The 100 class folders side by side, not split.
    6. ImageNet's training folders with the three lists.

    A list has the columns `filename,label` or `image_name,image_label`. Pickles are read by an unpickler that builds arrays, lists,
    dicts, strings and numbers and nothing else.

    Args:
        root: the data root; `METASHOT_DATA` if not given.
        size: height and width of an item. Pictures of this size are taken as they are.
        resize: how others get there, stretched, not cropped: "bilinear", "bicubic", "lanczos", "box" or "nearest".
        images: how many each class must have; "any" or None takes what is there.

    Returns:
        Split name -> store of items (3, size, size); classes are sorted by wnid, items by class and file name,
        with numbers in a name compared by value.

    Raises:
        MissingDataError: if the data is not found or not complete.
        DataError: if what is found is in no layout that is read, or in several at once, if it has wrong classes or numbers of images, or an
            argument is out of range.
        UnknownNameError: if resize is not one of those above.
        MetashotError: if the cache cannot be written.
    """
    if images is not None and images != _ANY and (type(images) is not int or images < 1):
        raise DataError(f'images is how many each class has, at least 1, or "any"; got {images!r}.')
    catalogue = usual(images if isinstance(images, int) else None)

    def check(made: Mapping[str, ImageStore]) -> None:
        for part, store in made.items():  # also those that were prepared before, with another number allowed
            counts = dict(zip(store.class_names, np.bincount(store.labels, minlength=len(store.class_names)).tolist(), strict=True))
            catalogue.check(part, counts, where=f"the store of {part}")

    return split_stores(
        "mini-imagenet",
        root=root,
        locate=partial(locate, catalogue=catalogue),
        treatment=Treatment(size=size, resize=resize),
        key={"classes": {part: list(classes) for part, classes in catalogue.parts.items()}},
        parts=PARTS,
        check=check,
    )
