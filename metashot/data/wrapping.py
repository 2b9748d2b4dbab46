"""Any map-style torch data set as a pool of items, without copying it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import DataError, MetashotError, described
from .dataset_labels import Labelled, checked_labels, label_of, labels_of

if TYPE_CHECKING:
    import torch

_SCALE = 1 / 255  # as `ImageStore` has it: the same pixels give the same floats, bit for bit
_CHANNELS = (1, 3, 4)


class MapStyle(Protocol):
    """A data set with a length and items by position; that of torch, or anything like it."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True, eq=False)
class Wrapped:
    """A data set's items with labels and identities, fetched from it one by one; N items, C classes. Made by `wrapped`.

    It offers what an `ImageStore` offers. No item is taken to be a copy of another, no class has a group. Items are asked for anew each
    time, in this process: a data set that changes them at random gives other ones each time.

    Attributes:
        dataset: where items come from.
        labels: (N,) int64, the class of each item, 0 .. C-1, every class present.
        class_names: C distinct names.
        transform: what is done to an item's picture before it becomes a tensor.
        own_labels: (N,) int64, the data set's own numbers, with which each fetched item's is compared; None if labels were given.
        fingerprint: None, since the content is not known without reading all of it: what is computed from it is not kept on disk.
    """

    dataset: MapStyle
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    transform: Callable[[Any], Any] | None = None
    own_labels: npt.NDArray[np.int64] | None = None
    fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def base_image(self) -> npt.NDArray[np.int64]:
        """(N,) int64: every item is an image of its own."""
        return np.arange(len(self.labels))

    @cached_property
    def base_class(self) -> npt.NDArray[np.int64]:
        """(C,) int64: every class is a class of its own."""
        return np.arange(len(self.class_names))

    @cached_property
    def group(self) -> npt.NDArray[np.int64]:
        """(C,) int64: no class has a group."""
        return np.full(len(self.class_names), -1)

    @property
    def group_names(self) -> tuple[str, ...]:
        """No names: there are no groups."""
        return ()

    @property
    def episode_groups(self) -> Mapping[int, int] | None:
        """None: an episode may hold any classes together."""
        return None

    @cached_property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of the first item, which all others must have."""
        return tuple(self._item(0).shape)

    def fetch(self, items: "torch.Tensor") -> "torch.Tensor":
        """The items at `items` (n,) int64, on the CPU: (n, *item) float32.

        Floats are as the data set gives them; 8-bit tensors, arrays and pictures are scaled to [0, 1].

        Raises:
            DataError: if an item lies outside 0 .. N-1, cannot be read or become a tensor, has another shape than the first, or comes
                with another label than the data set lists for it; names the item and the remedy.
        """
        import torch

        positions = items.detach().cpu().tolist()
        if positions and not (min(positions) >= 0 and max(positions) < len(self)):
            raise DataError(f"Items must lie in 0 .. {len(self) - 1}; asked for {min(positions)} .. {max(positions)}.")
        got = torch.empty((len(positions), *self.item_shape), dtype=torch.float32)
        for row, position in enumerate(positions):
            item = self._item(position)
            if tuple(item.shape) != self.item_shape:
                raise DataError(
                    f"Item {position} of {_name(self.dataset)} has shape {tuple(item.shape)}, item 0 has {self.item_shape}; "
                    "items of an episode need one shape. Give a transform that makes them so: torchvision.transforms.Resize((84, 84)), say."
                )
            got[row] = item
        return got

    def fetcher(self, device: "torch.device | str" = "cpu") -> "Callable[[torch.Tensor], torch.Tensor]":
        """A function like `fetch` whose result lies on `device`."""
        import torch

        return self.fetch if torch.device(device).type == "cpu" else lambda items: self.fetch(items).to(device)

    def _item(self, position: int) -> "torch.Tensor":
        """The item at `position` as a tensor, checked against its label."""
        where = f"Item {position} of {_name(self.dataset)}"
        try:
            found = self.dataset[position]
        except MetashotError:
            raise
        except Exception as error:  # the data set's own fault
            raise DataError(f"{where} cannot be read: {described(error)}") from error
        if self.own_labels is not None and isinstance(found, tuple | list) and len(found) > 1:
            label = label_of(found[1])
            if label is not None and label != self.own_labels[position]:
                raise DataError(
                    f"{where} comes with label {label}, but the data set lists {self.own_labels[position]} for it. Give labels=..., "
                    "one integer for each item."
                )
        content = found[0] if isinstance(found, tuple | list) and found else found
        if self.transform is not None:
            try:
                content = self.transform(content)
            except Exception as error:  # the caller's own fault
                raise DataError(f"{where}: transform failed: {described(error)}") from error
        return _as_tensor(content, where)


def wrapped(
    dataset: MapStyle,
    *,
    labels: "npt.ArrayLike | torch.Tensor | None" = None,
    class_names: Sequence[str] | None = None,
    transform: Callable[[Any], Any] | None = None,
) -> Wrapped:
    """A map-style data set, of torchvision or of one's own, as a pool for episodes, training and evaluation; nothing is copied.

    Labels are read without asking for an item where the data set lists them: as `targets`, `labels`, `_labels`, `samples` or `imgs`,
    also below `Subset` and `ConcatDataset`, or as the second tensor of a `TensorDataset`. Otherwise each item is asked for once.
    Classes without an item are left out, and the rest are numbered anew in the order of their labels.

    Args:
        dataset: gives `(picture, label)` for each position, or a picture alone if `labels` are given. A picture is a tensor, a PIL
            image of mode 1, L or RGB, or a NumPy array: (height, width), (height, width, channels) or (channels, height, width).
        labels: (N,) integers of at least 0, if the data set's own are not wanted or not to be had.
        class_names: name of each label 0, 1, ...; otherwise the data set's `classes`, or the labels as text.
        transform: picture -> what becomes the item.

    Raises:
        DataError: if the data set has no length or no items by position, or labels are not one integer for each item; says what to do.
    """
    items = _length(dataset)
    found = labels_of(dataset) if labels is None else Labelled(checked_labels(labels, items, "The labels given"), None)
    names = tuple(map(str, class_names)) if class_names is not None else found.class_names
    present, compact = np.unique(found.labels, return_inverse=True)  # (C,), (N,)
    named = names is not None and len(set(names)) == len(names) > present[-1]
    if class_names is not None and not named:
        raise DataError(
            f"class_names must be distinct, one for each label 0 .. {present[-1]}; got {len(class_names)}: {_few(class_names)}."
        )
    chosen = tuple(names[label] if names is not None and named else str(label) for label in present.tolist())
    numbers = compact.astype(np.int64)
    numbers.setflags(write=False)
    return Wrapped(dataset, numbers, chosen, transform, None if labels is not None else found.labels)


def _length(dataset: MapStyle) -> int:
    """The number of items, at least 1.

    Raises:
        DataError: if there is none, or items cannot be had by position.
    """
    from torch.utils.data import IterableDataset

    name = _name(dataset)
    if isinstance(dataset, IterableDataset) or not callable(getattr(dataset, "__getitem__", None)):
        raise DataError(f"{name} gives no item by its position, which episodes need: use a map-style data set, or a list of its items.")
    try:
        items = len(dataset)
    except Exception as error:  # the data set's own fault, or there is no length
        raise DataError(f"{name} has no length ({described(error)}); give the class __len__, the number of items.") from error
    if not items:
        raise DataError(f"{name} has no items.")
    return items


def _as_tensor(content: Any, where: str) -> "torch.Tensor":
    """A picture, array or tensor as float32, channels first.

    Raises:
        DataError: if it is something else; says how to change it.
    """
    import torch
    from PIL import Image

    remedy = "Give a transform that makes a tensor of it, such as torchvision.transforms.ToTensor()."
    if isinstance(content, Image.Image):
        if content.mode not in ("1", "L", "RGB"):
            raise DataError(f"{where} is a picture of mode {content.mode}. Give transform=lambda picture: picture.convert('RGB').")
        content = np.array(content.convert("L") if content.mode == "1" else content)
    if isinstance(content, np.ndarray):
        if content.dtype.kind not in "uif":
            raise DataError(f"{where} is an array of {content.dtype}. {remedy}")
        array = np.ascontiguousarray(_channels_first(content))
        content = torch.from_numpy(array if array.flags.writeable else array.copy())
    if not isinstance(content, torch.Tensor):
        raise DataError(f"{where} is a {type(content).__name__}, not a tensor, an array or a picture. {remedy}")
    if content.dtype == torch.uint8:
        return content.to(torch.float32).mul_(_SCALE)
    if not content.is_floating_point():
        raise DataError(f"{where} holds {content.dtype}; items are uint8, which is scaled to [0, 1], or floats, which stay. {remedy}")
    return content.to(torch.float32)


def _channels_first(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(height, width) or (height, width, channels) as (channels, height, width); anything else as it is."""
    if array.ndim == 2:
        return array[None]
    if array.ndim == 3 and array.shape[2] in _CHANNELS:
        return array.transpose(2, 0, 1)
    return array


def _name(dataset: MapStyle) -> str:
    return type(dataset).__name__


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:5])) + (", ..." if len(names) > 5 else "")
