"""The labels of a map-style torch data set, read without asking for its items where it lists them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError, MetashotError, described

_LISTS = ("targets", "labels", "_labels")  # where torchvision's data sets, and most others, keep one label an item
_PAIRS = ("samples", "imgs")  # where ImageFolder keeps (path, label)
_GIVE = "Give labels=..., one integer for each item."


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labels (N,) int64 of at least 0, and the name of each number 0, 1, ... if the data set has names."""

    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...] | None


def labels_of(dataset: Any) -> Labelled:
    """The labels of all items, as the data set lists them; by asking for each item once if it does not.

    Raises:
        DataError: if they are not one integer for each item, or a `Subset` or `ConcatDataset` holds an item twice; says what to do.
    """
    listed = _listed(dataset)
    return listed if listed is not None else Labelled(_from_items(dataset), _class_names(dataset))


def checked_labels(values: Any, items: int, what: str) -> npt.NDArray[np.int64]:
    """`values` as (items,) int64.

    Raises:
        DataError: if they are no flat list of `items` integers of at least 0; calls them `what`.
    """
    import torch

    try:
        array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    except Exception as error:  # ragged lists, foreign objects
        raise DataError(f"{what} cannot be read as labels: {described(error)}. {_GIVE}") from error
    if array.dtype.kind in "US":
        raise DataError(
            f"{what} are texts; labels are integers. Number them, `names, numbers = np.unique(texts, return_inverse=True)`, and give "
            "labels=numbers, class_names=names."
        )
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise DataError(f"{what} are {array.dtype} of shape {array.shape}; labels are integers of shape ({items},). {_GIVE}")
    if len(array) != items:
        raise DataError(f"{what} are {len(array)} for {items} items. {_GIVE}")
    if items and array.min() < 0:
        at = int(array.argmin())
        raise DataError(
            f"{what} must be at least 0; that of item {at} is {array[at]}. Leave items without a class out with torch.utils.data.Subset."
        )
    return array.astype(np.int64)


def label_of(value: Any) -> int | None:
    """An item's label as an int; None if it is none."""
    import torch

    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        value = value.tolist() if value.ndim == 0 else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _listed(dataset: Any) -> Labelled | None:
    """The labels as the data set lists them; None if it does not."""
    from torch.utils.data import ConcatDataset, Subset, TensorDataset

    name = type(dataset).__name__
    if isinstance(dataset, Subset):
        indices = np.asarray(dataset.indices)
        _check_once(indices.tolist(), f"{name}.indices hold an item")
        inner = _listed(dataset.dataset)
        return None if inner is None else Labelled(inner.labels[indices.astype(np.int64)], inner.class_names)
    if isinstance(dataset, ConcatDataset):
        _check_once(list(map(id, dataset.datasets)), f"{name} holds a data set")
        parts = [labels_of(part) for part in dataset.datasets]
        named = {part.class_names for part in parts}
        if len(named - {None}) > 1:
            raise DataError(
                f"The parts of {name} have different `classes`, so equal labels mean different classes. Give labels=... and class_names=..."
            )
        return Labelled(np.concatenate([part.labels for part in parts]), named.pop() if len(named) == 1 else None)
    if isinstance(dataset, TensorDataset):
        if len(dataset.tensors) < 2:
            raise DataError(f"{name} has one tensor, of items; a second must hold their labels. {_GIVE}")
        return Labelled(checked_labels(dataset.tensors[1], len(dataset), f"The values of the second tensor of {name}"), None)
    values, where = _attribute(dataset)
    if values is None:
        return None
    change = getattr(dataset, "target_transform", None)
    if change is None:
        return Labelled(checked_labels(values, len(dataset), f"{name}.{where}"), _class_names(dataset))
    try:
        changed = [change(value) for value in values]
    except Exception as error:  # the caller's own fault
        raise DataError(f"{name}.target_transform failed: {described(error)}. {_GIVE}") from error
    return Labelled(checked_labels(changed, len(dataset), f"{name}.{where}, by its target_transform,"), None)


def _attribute(dataset: Any) -> tuple[Any, str]:
    """What the data set lists as labels, and the name of the attribute; None if it lists none."""
    for name in _LISTS:
        values = getattr(dataset, name, None)
        if values is not None and not callable(values):
            return values, name
    for name in _PAIRS:
        pairs = getattr(dataset, name, None)
        if isinstance(pairs, Sequence) and all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
            return [pair[1] for pair in pairs], name
    return None, ""


def _class_names(dataset: Any) -> tuple[str, ...] | None:
    """The name of each number, if the data set has a list `classes` and leaves its numbers as they are."""
    from torch.utils.data import Subset

    if isinstance(dataset, Subset):
        return _class_names(dataset.dataset)
    names = getattr(dataset, "classes", None)
    if getattr(dataset, "target_transform", None) is not None or not isinstance(names, Sequence) or isinstance(names, str):
        return None
    return tuple(names) if all(isinstance(name, str) for name in names) else None


def _from_items(dataset: Any) -> npt.NDArray[np.int64]:
    """The label that comes with each item."""
    from .progress import track

    name, items = type(dataset).__name__, len(dataset)
    labels = np.empty(items, dtype=np.int64)
    with track(f"reading the labels of {name}", items) as advance:
        for index in range(items):
            try:
                found = dataset[index]
            except MetashotError:
                raise
            except Exception as error:  # the data set's own fault
                raise DataError(f"Item {index} of {name} cannot be read: {described(error)}") from error
            if not isinstance(found, tuple | list) or len(found) < 2:
                raise DataError(f"Item {index} of {name} is a {type(found).__name__}, not a picture and its label. {_GIVE}")
            label = label_of(found[1])
            if label is None or label < 0:
                raise DataError(f"Item {index} of {name} has the label {found[1]!r}; a label is an integer of at least 0. {_GIVE}")
            labels[index] = label
            advance(index + 1)
    return labels


def _check_once(values: Iterable[Any], what: str) -> None:
    """An item that is there twice could be support and query of one episode."""
    values = list(values)
    if len(set(values)) != len(values):
        raise DataError(f"{what} twice: the same picture could be support and query of an episode. Take each once.")
