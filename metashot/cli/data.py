"""`metashot data list`, `prepare` and `info`."""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from .. import registry
from ..errors import DataError, MissingDataError, RecipeError
from .data_report import Split, as_json, print_origin, print_overlap, print_rows, print_splits

if TYPE_CHECKING:
    from ..data import ImageStore
    from ..data.overlap import Duplicate
    from ..harness.recipe import Component

Root = Annotated[Path | None, Parameter(name=["--from", "--data-root"])]
Settings = Annotated[Sequence[str], Parameter(name="--set", negative="")]
Download = Annotated[bool, Parameter(negative="")]
_Json = Annotated[bool, Parameter(name="--json", negative="")]


@dataclass(frozen=True)
class _Listed:
    """A registered data set; `at_hand` is one of drawn, found, prepared, yours, no and not known, `where` a folder or what to do."""

    name: str
    at_hand: str
    where: str
    distribution: str


def list_data(*, data_root: Root = None, json_: _Json = False) -> None:
    """List the registered data sets, and whether they are at hand; nothing is opened.

    Parameters
    ----------
    data_root
        Folder of raw data sets; METASHOT_DATA if not given.
    json_
        Print JSON instead of a table.
    """
    listed = [_listed(each, data_root) for each in registry.listing("datasets")]
    if json_:
        print(json.dumps([vars(each) for each in listed], indent=1))
        return
    print_rows(("name", "at hand", "where, or what to do", "distribution"), [tuple(vars(each).values()) for each in listed])


def prepare(name: str, /, *, from_: Root = None, set_: Settings = (), download: Download = False, json_: _Json = False) -> None:
    """Prepare a data set: build the stores of all its splits, or find them built.

    What is finished is reused: after an interruption the same command goes on with the next split.

    Parameters
    ----------
    name
        A registered name, package.module:factory or path/to/file.py:factory.
    from_
        The data set's own folder, or the folder of all raw data sets; METASHOT_DATA if not given.
    set_
        One of the data set's arguments, for example --set size=32; may be repeated.
    download
        Fetch raw data that is not at hand, where a public source exists.
    json_
        Print JSON instead of a table.
    """
    began = monotonic()
    splits = _splits(name, from_, set_, download=download)
    now = [each.name for each in splits if each.state == "prepared now"]
    if now:
        _tell(f"Prepared {', '.join(now)} of {name} in {monotonic() - began:.1f} s.")
    elif all(each.state == "prepared before" for each in splits):
        _tell(f"{name} is prepared already; nothing was built.")
    else:
        _tell(f"{name} makes its stores in memory; nothing is kept on disk.")
    found = _found(splits)
    if json_:
        print(json.dumps(as_json(name, splits, found), indent=1))
        return
    print_splits(splits)
    print_overlap(splits, found)


def info(
    name: str,
    /,
    *,
    data_root: Root = None,
    set_: Settings = (),
    download: Download = False,
    verify: Annotated[bool, Parameter(negative="")] = False,
    json_: _Json = False,
) -> None:
    """Say what a prepared data set holds, where it came from, and what its splits share; it is prepared first if its raw data is at hand.

    Parameters
    ----------
    name
        A registered name, package.module:factory or path/to/file.py:factory.
    data_root
        The data set's own folder, or the folder of all raw data sets; METASHOT_DATA if not given.
    set_
        One of the data set's arguments, for example --set size=32; may be repeated.
    download
        Fetch raw data that is not at hand, where a public source exists.
    verify
        Compare every byte on disk with its SHA-256.
    json_
        Print JSON instead of a table.
    """
    splits = _splits(name, data_root, set_, download=download)
    if now := [each.name for each in splits if each.state == "prepared now"]:
        _tell(f"{name} was not prepared so before, or no longer sound: prepared {', '.join(now)} now.")
    if verify:
        _verify(name, splits)
    found = _found(splits)
    if json_:
        print(json.dumps(as_json(name, splits, found) | {"verified": verify}, indent=1))
        return
    print_splits(splits)
    print_origin(splits)
    print_overlap(splits, found)
    if verify:
        print("Every byte on disk is what it was when it was written.")


def data_component(name: str, settings: Sequence[str]) -> "Component":
    """A data set with the arguments of `--set` options, `KEY=VALUE` or `data.KEY=VALUE`; a wrong name is found out before anything else.

    Raises:
        UnknownNameError: if there is no such data set.
        RecipeError: if an option is not of that form.
    """
    registry.check_name("datasets", name)
    from ..harness.recipe import Component
    from ..harness.recipe_faults import error_of, set_faults
    from ..harness.recipe_layers import parse_settings

    for each in settings:
        if not all(part.strip() for part in each.partition("=")[:2]):
            raise RecipeError(f"--set: {each!r} is not of the form KEY=VALUE, for example size=32.")
    layer, faults = parse_settings(each if each.startswith("data.") else f"data.{each}" for each in settings)
    faults += set_faults(layer)
    arguments = layer.get("data", {})
    if "name" in arguments:
        faults.append("--set: the data set is named by the command's first argument; leave data.name out.")
    if faults:
        raise error_of(faults)
    return Component(name=name, arguments=arguments)


def _listed(each: registry.Registered, root: Path | None) -> _Listed:
    """One line of the list. Only metashot's own factories are imported, which are light."""
    from ..data import places
    from ..data.sources import recollection

    takes: Sequence[str] = ()
    own = each.target.startswith("metashot.")
    if own:
        from inspect import signature

        takes = tuple(signature(registry.load("datasets", each.name)).parameters)
    advice = f"metashot data prepare {each.name} --from PATH" + (", or with --download" if "download" in takes else "")
    if each.name in places.DRAWN:
        state, where = "drawn", ""
    elif "path" in takes:
        state, where = "yours", advice
    elif (raw := _raw_folder(each.name, root)) is not None:
        state, where = "found", str(raw)
    elif root is None and recollection(each.name) is not None:  # a root is a wish to read from there
        state, where = "prepared", f"metashot data info {each.name}"
    elif own or each.name in places.MARKS:
        state, where = "no", advice
    else:
        state, where = "not known", f"metashot data prepare {each.name}"
    return _Listed(each.name, state, where, each.distribution)


def _raw_folder(name: str, root: Path | None) -> Path | None:
    """Where raw data lies, if it is found or was downloaded; no archive is opened."""
    from ..data import places

    try:
        folder = places.find_raw(name, root)
    except MissingDataError:
        folder = places.downloads_folder(name)
    return folder if places.is_of(name, folder) else None


def _splits(name: str, root: Path | None, settings: Sequence[str], *, download: bool) -> list[Split]:
    """The splits of a data set, prepared if need be."""
    component = data_component(name, settings)
    from ..data import cache_folder
    from ..harness.build import build_stores

    kept = cache_folder() / "stores"
    before = _published(kept)
    stores = build_stores(component, root=root, download=download)
    after = _published(kept)

    def state(store: "ImageStore") -> str:
        if store.folder is None:
            return "in memory"
        return "prepared before" if before.get(store.folder) == after.get(store.folder) else "prepared now"

    return [Split(split, store, state(store)) for split, store in stores.items()]


def _published(folder: Path) -> dict[Path, int]:
    """The stores in a folder, and when each was written (ns)."""
    from ..atomic import MANIFEST

    written = {}
    for path in folder.glob(f"*/store/{MANIFEST}"):
        with suppress(OSError):  # another process may be building it anew
            written[path.parent] = path.stat().st_mtime_ns
    return written


def _found(splits: Sequence[Split]) -> "list[Duplicate]":
    from ..data.overlap import duplicates

    return duplicates({each.name: each.store for each in splits})


def _verify(name: str, splits: Sequence[Split]) -> None:
    """Read every byte of the stores on disk.

    Raises:
        DataError: if one is not what was written; names all that are not.
    """
    from ..data import open_store

    faults = []
    for each in splits:
        if each.store.folder is None:
            continue
        try:
            open_store(each.store.folder, hashes=True)
        except DataError as error:
            faults.append(f"{each.name}: {error} Remove {each.store.folder}, then: metashot data prepare {name}.")
    if faults:
        raise DataError(" ".join(faults))


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
