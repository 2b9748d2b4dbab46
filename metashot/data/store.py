"""A data set as one value: packed uint8 images, their labels, and what is a copy of what."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError

if TYPE_CHECKING:
    import torch

_CHUNK = 4096  # images hashed or sent to a device at a time: bounds memory, not results
_SCALE = 1 / 255  # multiplied, not divided: a GPU divides by a constant in another way than a CPU, and 255 * float32(1/255) is exactly 1


@dataclass(frozen=True, eq=False)
class ImageStore:
    """Images of one split with labels and identities; N items, C classes, G groups.

    Attributes:
        images: (N, channels, height, width) uint8, usually memory-mapped.
        labels: (N,) int64, the class of each item, 0 .. C-1.
        class_names: C distinct names.
        base_image: (N,) int64; items with the same id are copies (rotations) of one image.
        base_class: (C,) int64; classes with the same id are copies (rotations) of one class.
        group: (C,) int64, position in `group_names` of the group above the class (alphabet, superclass); -1 if it has none.
        group_names: G distinct names.
        episode_groups: class -> group for an episode sampler that may use at most one class of each group; None if it is free.
        provenance: where the images come from and what was done to them; JSON-valued.
        fingerprint: SHA-256 (hex) of images, labels, names and ids; the same content has the same fingerprint wherever it lies.
        folder: where the store lies on disk, None if it is in memory; has no part in what the store is.

    Raises:
        DataError: if the fields do not fit each other; names the field.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    base_image: npt.NDArray[np.int64]
    base_class: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64]
    group_names: tuple[str, ...]
    episode_groups: Mapping[int, int] | None
    provenance: Mapping[str, Any]
    fingerprint: str
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or not self.images.size:
            raise DataError(
                f"A store needs images of type uint8 and shape (items, channels, height, width), none of them 0; "
                f"got {self.images.dtype} {self.images.shape}."
            )
        items, classes = len(self.images), len(self.class_names)
        for name, length in [("labels", items), ("base_image", items), ("base_class", classes), ("group", classes)]:
            array = getattr(self, name)
            if array.dtype != np.int64 or array.shape != (length,):
                raise DataError(
                    f"A store of {items} items and {classes} classes needs {name} int64 ({length},); got {array.dtype} {array.shape}."
                )
        for name, array, low, high in [("labels", self.labels, 0, classes), ("group", self.group, -1, len(self.group_names))]:
            if array.size and not (low <= array.min() and array.max() < high):
                raise DataError(f"{name} must lie in {low} .. {high - 1}; they run from {array.min()} to {array.max()}.")
        for name, names in [("class names", self.class_names), ("group names", self.group_names)]:
            if len(set(names)) != len(names):
                twice = sorted(each for each in set(names) if names.count(each) > 1)
                raise DataError(f"{name} must be distinct; given more than once: {', '.join(twice[:3])}.")
        if self.episode_groups is not None and set(self.episode_groups) != set(range(classes)):
            raise DataError(f"episode_groups must name a group for each of the {classes} classes; it names {len(self.episode_groups)}.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def item_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.images.shape[1:]
        return int(channels), int(height), int(width)

    def fetch(self, items: "torch.Tensor | npt.ArrayLike") -> "torch.Tensor":
        """The images at `items` (n,) int64, a tensor, array or list, on the CPU: (n, channels, height, width) float32 in [0, 1].

        Raises:
            DataError: if they are no integers; if an item lies outside 0 .. N-1 (the -1 of a padded plan, for example).
        """
        import torch  # here, so that a store can be built and listed without it

        positions = items.detach().cpu().numpy() if isinstance(items, torch.Tensor) else _int64(items)
        self._check_items(positions)
        return torch.from_numpy(np.ascontiguousarray(np.take(self.images, positions, axis=0))).to(torch.float32).mul_(_SCALE)

    def fetcher(self, device: "torch.device | str" = "cpu") -> "Callable[[torch.Tensor], torch.Tensor]":
        """A function like `fetch` whose result lies on `device`.

        For any device but the CPU the uint8 images are uploaded now, once; the function then gathers and scales there. The values
        are those of `fetch`, bit for bit. Keep the function: another call uploads again.
        """
        import torch

        if torch.device(device).type == "cpu":
            return self.fetch
        images = torch.empty(self.images.shape, dtype=torch.uint8, device=device)
        for start in range(0, len(self.images), _CHUNK):
            images[start : start + _CHUNK] = torch.from_numpy(np.array(self.images[start : start + _CHUNK])).to(device)

        def fetch(items: torch.Tensor) -> torch.Tensor:
            if items.device.type == "cpu":  # elsewhere the check would make the host wait for the device
                self._check_items(items.detach().numpy())
            return images[items.to(images.device)].to(torch.float32).mul_(_SCALE)

        return fetch

    def _check_items(self, items: npt.NDArray[np.int64]) -> None:
        if items.size and not (items.min() >= 0 and items.max() < len(self.images)):
            raise DataError(f"Items must lie in 0 .. {len(self.images) - 1}; asked for {items.min()} .. {items.max()}.")


def make_store(
    images: npt.NDArray[np.uint8],
    labels: npt.ArrayLike,
    class_names: tuple[str, ...],
    *,
    base_image: npt.ArrayLike | None = None,
    base_class: npt.ArrayLike | None = None,
    group: npt.ArrayLike | None = None,
    group_names: tuple[str, ...] = (),
    episode_groups: Mapping[int, int] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> ImageStore:
    """An `ImageStore` in memory, with its fingerprint; ids not given say that no item or class is a copy, and no class has a group.

    Args:
        images: (N, channels, height, width) uint8.
        labels: (N,) integers, 0 .. C-1.
        class_names: C distinct names.
        base_image, base_class, group, group_names, episode_groups, provenance: as in `ImageStore`.

    Raises:
        DataError: if the arguments do not fit each other.
    """
    fields: dict[str, Any] = {
        "labels": _int64(labels),
        "class_names": tuple(class_names),
        "base_image": np.arange(len(images)) if base_image is None else _int64(base_image),
        "base_class": np.arange(len(class_names)) if base_class is None else _int64(base_class),
        "group": np.full(len(class_names), -1) if group is None else _int64(group),
        "group_names": tuple(group_names),
    }
    digest = FingerprintWriter(images.shape)
    for start in range(0, len(images), _CHUNK):
        digest.add(images[start : start + _CHUNK])
    fingerprint = digest.finish(**fields)
    return ImageStore(images, episode_groups=episode_groups, provenance=dict(provenance or {}), fingerprint=fingerprint, **fields)


def joined(*stores: ImageStore) -> ImageStore:
    """One store in memory with the classes of all `stores`, in order, for training on train + val together.

    Labels, base images and base classes of later stores are shifted, so that nothing falls together; groups of one name become one.

    Raises:
        DataError: if there is no store, if image shapes differ, if two stores share a class, or if only some have episode groups.
    """
    if not stores:
        raise DataError("joined() needs at least one store; got none.")
    if len({store.item_shape for store in stores}) > 1:
        raise DataError(f"Stores of one image shape can be joined; got {', '.join(str(store.item_shape) for store in stores)}.")
    grouped = [store.episode_groups is not None for store in stores]
    if any(grouped) != all(grouped):
        raise DataError("Some stores restrict episodes to one class of a group and some do not; prepare all with the same rotations.")
    group_names = tuple(dict.fromkeys(name for store in stores for name in store.group_names))
    labels, base_image, base_class, group = [], [], [], []
    episode_groups: dict[int, int] = {}
    classes = images = bases = groups = 0
    for store in stores:
        labels.append(store.labels + classes)
        base_image.append(store.base_image + images)
        base_class.append(store.base_class + bases)
        place = np.array([*(group_names.index(name) for name in store.group_names), -1], dtype=np.int64)  # the last answers for -1
        group.append(place[store.group])
        if store.episode_groups is not None:
            episode_groups |= {label + classes: above + groups for label, above in store.episode_groups.items()}
            groups += max(store.episode_groups.values()) + 1
        classes += len(store.class_names)
        images += int(store.base_image.max()) + 1
        bases += int(store.base_class.max()) + 1
    return make_store(
        np.concatenate([store.images for store in stores]),
        np.concatenate(labels),
        tuple(name for store in stores for name in store.class_names),
        base_image=np.concatenate(base_image),
        base_class=np.concatenate(base_class),
        group=np.concatenate(group),
        group_names=group_names,
        episode_groups=episode_groups if all(grouped) else None,
        provenance={"joined": [{"fingerprint": store.fingerprint, **store.provenance} for store in stores]},
    )


class FingerprintWriter:
    """The fingerprint of a store whose images come in blocks."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._digest = sha256(b"metashot store 1\n" + json.dumps([int(size) for size in shape]).encode())

    def add(self, block: npt.NDArray[np.uint8]) -> None:
        """Take in the next images, (n, channels, height, width) uint8."""
        self._digest.update(np.ascontiguousarray(block).data)

    def finish(self, **fields: Any) -> str:
        """The fingerprint, given labels, class names and ids by field name."""
        for name in ("labels", "class_names", "base_image", "base_class", "group", "group_names"):
            value = fields[name]
            content = json.dumps(value).encode() if isinstance(value, tuple) else value.astype("<i8").tobytes()
            self._digest.update(f"\n{name} {len(content)}\n".encode() + content)
        return self._digest.hexdigest()


def _int64(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise DataError(f"Labels and ids must be integers; got {array.dtype}.")
    return array.astype(np.int64)
