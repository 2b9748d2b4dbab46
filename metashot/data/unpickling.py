"""Pickles that somebody else wrote: arrays, lists, dictionaries, strings and numbers are read from them; nothing in them is ever run.

Python's own reader takes the file apart. What it may look up is a table of exact names, and behind each name stands a function of ours, not
numpy's: some of numpy's would allocate any shape they are told, or take any state for a data type. What they make are stand-ins, of which
the arrays are taken once the whole file was read.
"""

import copyreg
import math
import pickle
import pickletools
import re
from collections.abc import Callable, Iterator, Mapping
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..errors import DataError, MetashotError
from .signatures import HEAD, head_of, kind_of, no_data

_MOST_BYTES = 1 << 33
_MOST_DEPTH = 64
_FEW_VALUES = 1 << 20  # that any file may hold, however small
_ATOMS = (type(None), bool, int, float, str, bytes)
_OPCODES = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}
_LENGTH = {  # bytes of it, for the arguments that have their length before them
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_PLAIN = re.compile("[biufcSU][1-9][0-9]{0,8}")  # bool, integers, floating point, complex, bytes, text; "O" would hold Python objects

Array = np.ndarray[Any, Any]


def read_pickle(path: Path, *, most_bytes: int = _MOST_BYTES) -> Any:
    """The value in the pickle file `path`: None, bools, numbers, strings, bytes, lists, tuples, dictionaries, numpy arrays and scalars.

    Protocols 0 to 5, of Python 3 and Python 2, with numpy 1 and 2. Python 2 strings become text by Latin-1. Arrays may be read-only.

    Bounded are the size of the file, what it can reach (the names of a table here), and what comes back: a tree no deeper than 64, of no
    more values than the file has bytes (or a million), in which a list that was held twice stands twice. Memory is about that of the
    content; what is written as text (all of Python 2, and bytes in protocols 0 to 2) takes two to three times as much on the way.
    Not bounded is what Python's reader does before that with a file made to harm: a hundred bytes or so can keep it busy for ever, some
    more make it fill the memory or end the process. Nothing of such a file is run either.

    Args:
        path: the file.
        most_bytes: largest size of the file that is accepted.

    Raises:
        MissingDataError: if there is no such file.
        DataError: if it is not a pickle (says what it is), is truncated, or holds anything else; a pickle that wants something imported or
            run is refused by the name of what it wants.
    """
    path = Path(path)
    head = head_of(path)
    try:
        with path.open("rb") as stream:
            return _value(stream, path.stat().st_size, head, where=str(path), most_bytes=most_bytes)
    except OSError as error:
        if isinstance(error, MetashotError):
            raise
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error


def unpickle(content: bytes, *, where: str) -> Any:
    """The value in the pickle `content`, as `read_pickle` gives it; `where` names file and member in errors."""
    if wrong := no_data(content[:HEAD]):
        raise DataError(f"{where} {wrong}")
    return _value(BytesIO(content), len(content), content[:HEAD], where=where, most_bytes=_MOST_BYTES)


def _value(stream: BufferedIOBase, size: int, head: bytes, *, where: str, most_bytes: int) -> Any:
    if size > most_bytes:
        raise DataError(f"{where} has {size} bytes; a pickle of at most {most_bytes} is accepted.")
    kind = kind_of(head)
    if not (kind.endswith("pickle") or kind.startswith("of no known kind")):
        raise DataError(f"{where} is not a pickle but {kind}.")
    copyreg.clear_extension_cache()  # what lies in it would be handed out without a question to find_class
    try:
        _check_memo(stream, size)
        value = _plain(_Reader(stream, encoding="latin1").load(), iter(range(max(size, _FEW_VALUES))))
        if stream.tell() != size:
            raise DataError(f"{size - stream.tell()} more bytes follow its end")
        return value
    except DataError as error:
        raise DataError(
            f"{where} is not a pickle that can be read: {error}. Only arrays, lists, dictionaries, strings and numbers are."
        ) from None
    except MemoryError:
        raise DataError(f"{where} needs more memory than there is; it has {size} bytes.") from None
    except Exception as error:  # damage shows in many kinds
        raise DataError(f"{where} is not a pickle that can be read: it is damaged ({type(error).__name__}: {error}).") from error
    finally:
        copyreg.clear_extension_cache()  # what we handed out is for nobody else


def _check_memo(stream: BufferedIOBase, size: int) -> None:
    """Refuse a pickle that numbers a value far beyond the bytes that it has: Python's reader would make room for all numbers below.

    Writers number values one after the other, and end frames between instructions; where one ends within, Python's reader would go on
    from another place. Anything else that is wrong is left for it to find.
    """
    place = frame = 0  # where the next instruction begins, and where the last frame ends
    while (opcode := _OPCODES.get(stream.read(1))) and opcode.name != "STOP":
        start, place = place, place + 1
        width = 0 if opcode.arg is None else opcode.arg.n
        if width == pickletools.UP_TO_NEWLINE:
            argument = stream.readline()
            place += len(argument)
            if opcode.name in ("GLOBAL", "INST"):
                place += len(stream.readline())
        elif width < 0:  # the length of what follows stands before it
            length = int.from_bytes(stream.read(_LENGTH[width]), "little")
            stream.seek(length, 1)
            place += _LENGTH[width] + length
        else:
            argument = stream.read(width)
            place += width
        end = place + (int.from_bytes(argument, "little") if opcode.name == "FRAME" else 0)
        if start < frame < end:
            raise DataError("one of its frames ends within an instruction")
        frame = max(frame, end) if opcode.name == "FRAME" else frame
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            number = int(argument) if opcode.name == "PUT" else int.from_bytes(argument, "little")
            if number > max(size, _FEW_VALUES):
                raise DataError(f"it numbers a value {number} and has {size} bytes")
    stream.seek(0)


class _Reader(pickle.Unpickler):
    """Python's reader, able to look up the names in `_NAMES` and nothing else."""

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in _NAMES:
            wanted = f"{module}.{name}"[:200]
            raise DataError(f"it wants {wanted!r}, which is no part of arrays and plain values; nothing of it was run")
        return _NAMES[module, name]

    def persistent_load(self, key: Any, /) -> NoReturn:
        raise DataError("it wants an object that is kept elsewhere (a persistent id)")


class Name:
    """What a file gets for a name: it can be called, and neither changed nor instantiated."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *arguments: object) -> object:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise DataError("it wants to change a function; nothing of it was run")


class Dtype:
    """Stands for `numpy.dtype(spec)`; of the state that follows only the byte order is taken."""

    __slots__ = ("value",)

    def __init__(self, spec: object, align: object = False, copy: object = True) -> None:
        if not (isinstance(spec, str) and _PLAIN.fullmatch(spec)):
            raise DataError(f"it has an array of type {spec!r:.50}; plain numbers, bools and strings are read")
        self.value = np.dtype(spec)

    def __setstate__(self, state: Any) -> None:
        if len(state) != 8 or state[1] not in ("|", "<", ">", "=") or state[2:5] != (None, None, None):
            raise DataError("it has an array of a compound type; plain numbers, bools and strings are read")
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class Unfilled:
    """Stands for an array: numpy's pickles begin an empty one, whose state follows. The shape it is begun with plays no part."""

    __slots__ = ("value",)

    def __init__(self, *arguments: object) -> None:
        self.value: Array | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, column_major, content = state
        array = _array(content, dtype, shape, "F" if column_major else "C")
        self.value = array.astype(array.dtype.newbyteorder("="), copy=False)


def _array(content: object, dtype: object, shape: object, order: Any) -> Array:
    """The array of the bytes `content`, which it shares."""
    if isinstance(content, str):  # a Python 2 string
        content = content.encode("latin1")
    if not (isinstance(dtype, Dtype) and isinstance(content, bytes | bytearray) and isinstance(shape, tuple)):
        raise DataError("it has an array that is not written as numpy writes one")
    if any(type(each) is not int or each < 0 for each in shape) or math.prod(shape) * dtype.value.itemsize != len(content):
        raise DataError(f"it has an array of shape {shape!r:.100} and type {dtype.value} with {len(content)} bytes of content")
    return np.ndarray(shape, dtype.value, content, order=order)


def _from_buffer(content: object, dtype: object, shape: object, order: object, axes: Any = None) -> Unfilled:
    filled = Unfilled()
    filled.value = _array(content, dtype, shape, "C" if order == "K" else order)
    if order == "K":
        filled.value = filled.value.transpose(axes)
    return filled


def _scalar(dtype: object, content: object) -> object:
    return _array(content, dtype, (), "C")[()]


def _encode(text: object, encoding: object = "utf-8") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise DataError(f"it has bytes in the encoding {encoding!r:.50}: Python writes latin1")
    return text.encode("latin1")


_NAMES: Mapping[tuple[str, str], Name] = {
    ("numpy", "ndarray"): Name(Unfilled),  # named as the kind of array to begin; files do not call it
    ("numpy", "dtype"): Name(Dtype),
    ("numpy.core.multiarray", "_reconstruct"): Name(Unfilled),
    ("numpy._core.multiarray", "_reconstruct"): Name(Unfilled),
    ("numpy.core.multiarray", "scalar"): Name(_scalar),
    ("numpy._core.multiarray", "scalar"): Name(_scalar),
    ("numpy.core.numeric", "_frombuffer"): Name(_from_buffer),
    ("numpy._core.numeric", "_frombuffer"): Name(_from_buffer),
    ("_codecs", "encode"): Name(_encode),  # how protocols 0 to 2 write bytes
    ("__builtin__", "bytes"): Name(lambda: b""),  # and empty ones
}


def _plain(value: Any, left: Iterator[int], depth: int = 0) -> Any:
    """`value` with its arrays in place of their stand-ins; `DataError` if it holds anything but plain values, or more than are `left`."""
    if next(left, None) is None:
        raise DataError("gone through, it would be more values than it has bytes, since it holds parts of itself again and again")
    kind = type(value)
    if kind is str and not value.isascii():
        value.encode()  # halves of characters can be pickled, and printed nowhere
    if kind in _ATOMS or isinstance(value, np.generic):
        return value
    if kind is Unfilled and value.value is not None:
        return value.value
    if kind not in (list, tuple, dict):
        raise DataError(f"it holds a value of type {kind.__name__}")
    if depth == _MOST_DEPTH:
        raise DataError(f"its lists and dictionaries lie more than {_MOST_DEPTH} deep in one another, or contain themselves")
    if kind is not dict:
        return kind([_plain(each, left, depth + 1) for each in value])
    for key in value:
        if type(key) not in _ATOMS:
            raise DataError(f"it has a dictionary with a key of type {type(key).__name__}; strings and numbers are read")
    return {_plain(key, left, depth + 1): _plain(each, left, depth + 1) for key, each in value.items()}
