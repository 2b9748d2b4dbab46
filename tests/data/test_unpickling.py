"""Pickles are read as data. Whether a specimen is dangerous at all is shown by Python's own reader, which runs it."""

import contextlib
import copyreg
import os
import pickle
import struct
import subprocess
from collections import OrderedDict, defaultdict
from io import BytesIO
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metashot.data import unpickling
from metashot.data.unpickling import read_pickle, unpickle
from metashot.errors import DataError, MetashotError, MissingDataError

PROTOCOLS = range(6)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(-(2**50), 2**50) | st.binary(), inner)
    ),
    max_leaves=20,
)


def _same(found: Any, wanted: Any) -> None:
    assert type(found) is type(wanted)
    if isinstance(wanted, np.ndarray | np.generic):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        assert np.array_equal(found, wanted)
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            _same(found[key], wanted[key])
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            _same(one, other)
    else:
        assert found == wanted


# what is read


@given(value=PLAIN, protocol=st.sampled_from(PROTOCOLS))
def test_plain_values_come_back_as_they_were(value: Any, protocol: int) -> None:
    found = unpickle(pickle.dumps(value, protocol), where="a.pkl")
    assert type(found) is type(value)
    _same(found, value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i4", "i8", "u8", "f2", "f4", ">f8", "c8", "?", "S3", "U4"])
def test_arrays_come_back_as_python_would_read_them(dtype: str, protocol: int) -> None:
    full = np.arange(24).reshape(2, 3, 4).astype(dtype)
    arrays = [
        full,
        full.T,
        np.asfortranarray(full[0]),
        full[:, ::2],
        full[0, 0, 0],
        np.array(full[1, 1, 1]),
        full[:0],
        np.empty((3, 0), dtype),
        full.transpose(1, 0, 2),
    ]
    content = pickle.dumps({"arrays": arrays, "again": arrays[0]}, protocol)
    found = unpickle(content, where="a.pkl")
    _same(found, pickle.loads(content))
    assert found["again"] is found["arrays"][0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pickles_of_numpy_1_and_2_are_read_alike(protocol: int) -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    content = pickle.dumps([array, np.float32(1.5)], protocol)
    assert b"numpy._core." in content
    old = content.replace(b"numpy._core.", b"numpy.core.")
    if protocol >= 4:  # names have their lengths before them, and the frame has the whole's
        for name in (b"numpy.core.multiarray", b"numpy.core.numeric"):
            old = old.replace(bytes([len(name) + 1]) + name, bytes([len(name)]) + name)
        old = old[:3] + struct.pack("<Q", len(old) - 11) + old[11:]
    _same(unpickle(old, where="old.pkl"), [array, np.float32(1.5)])


def test_a_cache_of_images_and_class_dictionary_is_read(tmp_path: Path) -> None:
    """The form of mini-imagenet-cache-*.pkl."""
    images = np.random.default_rng(0).integers(0, 256, (6, 84, 84, 3), dtype=np.uint8)
    for protocol in PROTOCOLS:
        value = {"image_data": images, "class_dict": {"n01532829": [0, 1, 2], "n01558993": [3, 4, 5]}}
        (tmp_path / "mini-imagenet-cache-train.pkl").write_bytes(pickle.dumps(value, protocol))
        found = read_pickle(tmp_path / "mini-imagenet-cache-train.pkl")
        assert found["image_data"].shape == (6, 84, 84, 3)
        _same(found, value)


class _Python2:
    """Writes what Python 2 with numpy 1 wrote, protocol 2: byte strings under their old instruction, names of numpy.core."""

    @staticmethod
    def string(content: bytes) -> bytes:
        return b"U" + bytes([len(content)]) + content if len(content) < 256 else b"T" + struct.pack("<i", len(content)) + content

    @classmethod
    def array(cls, array: np.ndarray[Any, Any]) -> bytes:
        shape = b"(" + b"".join(b"J" + struct.pack("<i", each) for each in array.shape) + b"t"
        begun = b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85q\x03U\x01bq\x04\x87q\x05Rq\x06"
        dtype = b"cnumpy\ndtype\nq\x07" + cls.string(array.dtype.str[1:].encode()) + b"K\x00K\x01\x87Rq\x08"
        dtype += b"(K\x03" + cls.string(array.dtype.byteorder.replace("=", "<").encode()) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        return begun + b"(K\x01" + shape + dtype + b"\x89" + cls.string(array.tobytes()) + b"tb"

    @classmethod
    def value(cls, value: Any) -> bytes:
        if isinstance(value, np.ndarray):
            return cls.array(value)
        if isinstance(value, bytes):
            return cls.string(value)
        if isinstance(value, int):
            return b"J" + struct.pack("<i", value)
        if isinstance(value, list):
            return b"](" + b"".join(cls.value(each) for each in value) + b"e"
        assert isinstance(value, dict)
        return b"}(" + b"".join(cls.value(each) for item in value.items() for each in item) + b"u"

    @classmethod
    def pickle(cls, value: Any) -> bytes:
        return b"\x80\x02" + cls.value(value) + b"."


CIFAR = {
    b"filenames": [b"bos_taurus_s_000507.png", b"na\xefve.png"],
    b"batch_label": b"training batch 1 of 1",
    b"fine_labels": [19, 29],
    b"coarse_labels": [11, 15],
    b"data": np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8),
}


def test_python_2_pickles_are_read_with_text_for_byte_strings(tmp_path: Path) -> None:
    """The form of CIFAR-100's train and test files, and of its meta file."""
    (tmp_path / "train").write_bytes(_Python2.pickle(CIFAR))
    _same(pickle.loads(_Python2.pickle(CIFAR), encoding="bytes"), CIFAR)  # the specimen is a true one
    wanted = pickle.loads(_Python2.pickle(CIFAR), encoding="latin1")
    found = read_pickle(tmp_path / "train")
    _same(found, wanted)
    assert found["filenames"][1] == "naïve.png"
    assert np.array_equal(found["data"], CIFAR[b"data"])
    meta = {b"fine_label_names": [b"apple", b"aquarium_fish"], b"coarse_label_names": [b"aquatic_mammals"]}
    assert unpickle(_Python2.pickle(meta), where="meta")["fine_label_names"] == ["apple", "aquarium_fish"]


def test_a_category_split_of_python_2_is_read(tmp_path: Path) -> None:
    """The form of miniImageNet_category_split_*.pickle, with one array of pictures or a list of them."""
    pictures = np.random.default_rng(0).integers(0, 256, (3, 84, 84, 3), dtype=np.uint8)
    for data in (pictures, list(pictures)):
        value = {
            b"data": data,
            b"labels": [0, 0, 1],
            b"catname2label": {b"n01532829": 0, b"n01558993": 1},
            b"label2catname": {0: b"n01532829"},
        }
        (tmp_path / "split.pickle").write_bytes(_Python2.pickle(value))
        found = read_pickle(tmp_path / "split.pickle")
        assert np.array_equal(np.stack(list(found["data"])), pictures)
        assert (found["labels"], found["catname2label"]) == ([0, 0, 1], {"n01532829": 0, "n01558993": 1})
        assert found["label2catname"] == {0: "n01532829"}


def test_python_2_text_protocol_is_read() -> None:
    assert unpickle(b"(dp0\nS'data'\np1\n(lp2\nI1\naL5L\naF1.5\naI01\naS'a\\xff\\n\\'q'\naVna\\u00efve\nas.", where="a") == {
        "data": [1, 5, 1.5, True, "a\xff\n'q", "naïve"]
    }


def test_a_long_python_2_string_becomes_text_too() -> None:
    long = bytes(range(256)) * 5000
    assert unpickle(_Python2.pickle({b"a": long, b"b": b"short"}), where="a") == {"a": long.decode("latin1"), "b": "short"}


# what is refused


class _Runs:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def _payloads(target: Path) -> dict[str, bytes]:
    """Pickles each of which makes the file `target`, if it is run."""
    command, code = f"touch '{target}'", f"open({str(target)!r}, 'w').close()"
    written = {
        f"{name}, protocol {protocol}": pickle.dumps({"image_data": _Runs(function, *arguments)}, protocol)
        for protocol in PROTOCOLS
        for name, function, arguments in [
            ("os.system", os.system, (command,)),
            ("eval", eval, (code,)),
            ("exec", exec, (code,)),
            ("subprocess.call", subprocess.call, (["touch", str(target)],)),
        ]
    }
    argument = pickle.dumps(command, 2)[2:-1]
    call = b"(" + argument + b"tR."
    return written | {
        "INST": b"(" + argument + b"ios\nsystem\n.",
        "OBJ": b"(cos\nsystem\n" + argument + b"o.",
        "a submodule of numpy by a dotted name": _look_up("numpy", "testing._private.utils.os.system") + call,
        "a name in a submodule of numpy": _look_up("numpy.testing._private.utils", "os.system") + call,
        "a dotted name in a module that is known": _look_up("numpy._core.numeric", "warnings.sys.modules.get")
        + b"U\x05posix\x85Rq\x000cbuiltins\ngetattr\n(h\x00U\x06systemtR"
        + call,
        "a dotted name below one that is known": _look_up("numpy", "ndarray.__class__.__base__.__subclasses__")
        + b")R0"
        + _look_up("os", "system")
        + call,
        "_reconstructor": b"ccopy_reg\n_reconstructor\n(c__builtin__\nobject\nc__builtin__\nobject\nNtR0cos\nsystem\n" + call,
        "__newobj__": b"ccopy_reg\n__newobj__\n(c__builtin__\nobject\ntR0cos\nsystem\n" + call,
        "a chain of getattr": b"cbuiltins\ngetattr\n(cbuiltins\ngetattr\n(cposix\nlistdir\nU\x08__self__tRU\x06systemtR" + call,
        "the memo": b"cos\nsystem\np0\n0g0\n" + call,
    }


def _look_up(module: str, name: str) -> bytes:
    """STACK_GLOBAL, which takes dotted names."""
    return b"\x80\x04" + b"".join(b"\x8c" + bytes([len(each)]) + each.encode() for each in (module, name)) + b"\x93"


@pytest.mark.parametrize("which", sorted(_payloads(Path("nowhere"))))
def test_nothing_in_a_pickle_runs(which: str, tmp_path: Path) -> None:
    payload = _payloads(tmp_path / "made")[which]
    (tmp_path / "a.pkl").write_bytes(payload)
    with pytest.raises(DataError, match=r"a\.pkl is not a pickle that can be read: it wants '.*nothing of it was run"):
        read_pickle(tmp_path / "a.pkl")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("which", sorted(_payloads(Path("nowhere"))))
def test_the_same_pickles_do_run_under_pythons_own_reader(which: str, tmp_path: Path) -> None:
    pickle.loads(_payloads(tmp_path / "made")[which])
    assert (tmp_path / "made").exists()


def test_a_table_with_one_name_too_many_would_let_it_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = b"cposix\nsystem\n(" + pickle.dumps(f"touch '{tmp_path}/made'", 2)[2:-1] + b"tR."
    monkeypatch.setattr(unpickling, "_NAMES", {**unpickling._NAMES, ("posix", "system"): os.system})
    unpickle(payload, where="a")
    assert (tmp_path / "made").exists()  # the checks above can fail


@pytest.mark.parametrize("name", ["ndarray.__class__", "ndarray.tobytes", "core.multiarray._reconstruct", "load", "lib", "array", ""])
def test_only_exact_names_are_known(name: str) -> None:
    for module in ("numpy", "numpy.core", "numpy.ndarray", "numpy.core.multiarray", "NumPy", ""):
        with pytest.raises(DataError, match="it wants '"):
            unpickle(_look_up(module, name) + b".", where="a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(OrderedDict(a=1)), r"wants 'collections\.OrderedDict'"),
        (pickle.dumps(defaultdict(list)), r"wants 'collections\.defaultdict'"),
        (pickle.dumps({1, 2}), "holds a value of type set"),
        (pickle.dumps(frozenset([1])), "holds a value of type frozenset"),
        (pickle.dumps(bytearray(b"a"), 5), "holds a value of type bytearray"),
        (b"\x80\x05\x96" + struct.pack("<Q", 1) + b"a\x98.", "holds a value of type memoryview"),
        (pickle.dumps(1j), r"wants 'builtins\.complex'"),
        (pickle.dumps(Path("a")), r"wants 'pathlib"),
        (pickle.dumps(np.array([{}, None], dtype=object)), "array of type 'O8'"),
        (pickle.dumps(np.zeros(2, [("a", "u1"), ("b", "f4")])), "array of type 'V5'"),
        (pickle.dumps(np.zeros(2, "M8[s]")), "array of type 'M8'"),
        (pickle.dumps(np.random.default_rng(0)), r"wants 'numpy\.random"),
        (pickle.dumps(np.ma.masked_array([1, 2], [0, 1])), r"wants 'numpy\.ma"),
        (pickle.dumps(np.float32), r"wants 'numpy\.float32'"),
        (pickle.dumps(np.dtype("u1")), "holds a value of type Dtype"),
        (pickle.dumps(np.ndarray), "holds a value of type Name"),
        (pickle.dumps({(1, 2): 3}), "dictionary with a key of type tuple"),
        (pickle.dumps({(): 3}), "dictionary with a key of type tuple"),
        (b"P12\n.", "persistent id"),
        (b"\x80\x02K\x01Q.", "persistent id"),
        (b"\x80\x02\x82\x01.", "damaged .*extension code 1"),
        (b"\x80\x02\x83\x01\0.", "damaged .*extension code 1"),
        (b"\x80\x02\x84\x01\0\0\0.", "damaged .*extension code 1"),
        (b"\x80\x05\x97.", "damaged .*out-of-band"),
        (b"\x80\x04})\x81.", "damaged .*must be a type"),
        (b"\x80\x04c_codecs\nencode\n)\x81.", "damaged .*must be a type"),
        (b"\x80\x04c_codecs\nencode\n)}\x92.", "damaged .*must be a type"),
        (b"\x80\x02}}b.", "damaged"),
        (b"\x80\x02c_codecs\nencode\n}U\x0c__defaults__K\x01sb.", "wants to change a function"),
        (b"\x80\x02c_codecs\nencode\nN}U\x0c__defaults__K\x01s\x86b.", "wants to change a function"),
        (b"\x80\x02U\x01a)R.", "damaged"),
        (b"cnumpy\nndarray\n(I9\ntR.", "holds a value of type Unfilled"),
        (b"\x80\x06N.", "pickle protocol: 6"),
        (pickle.dumps([1]) + b"more", "4 more bytes follow its end"),
        (b"(.", "damaged"),
        (b"t.", "damaged"),
        (b"Na.", "damaged"),
        (b"NNa.", "damaged"),
        (b"h\x07.", "damaged"),
        (b"p-1\n.", "damaged"),
        (b"}(Nu.", "damaged"),
        (b"Ix\n.", "damaged"),
        (b"I" + b"9" * 5000 + b"\n.", "damaged"),
        (b"\x8b\0\0\0\x80.", "damaged"),
        (b"T\xff\xff\xff\xff.", "damaged"),
        (b"Sno quotes\n.", "damaged"),
        (b"S'\\x'\n.", "damaged"),
        (b"X\x01\0\0\0\xff.", "damaged"),
        (b"V\\ud800\n.", "damaged"),
        (pickle.dumps({"\ud800": 1}), "damaged"),
        (b"{}", "damaged"),
        (b"filename,label\n", "damaged"),
        (b"", r"is empty \(0 bytes\)"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", r"is a web page \(HTML\)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"PK\x03\x04 and so on", "is not a pickle but a zip archive"),
        (b"\x1f\x8b\x08\0", "is not a pickle but a gzip-compressed file"),
        (b"\x93NUMPY\x01\0", "is not a pickle but a NumPy array file"),
        (b"\x89HDF\r\n\x1a\n", "is not a pickle but an HDF5 file"),
    ],
)
def test_what_is_not_plain_data_is_refused_and_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.pkl .*({message})"):
        read_pickle(tmp_path / "a.pkl")
    with pytest.raises(DataError, match=rf"^here .*({message})"):
        unpickle(content, where="here")


def test_a_file_that_is_missing_or_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"no\.pkl"):
        read_pickle(tmp_path / "no.pkl")
    with pytest.raises(DataError, match="is not a file"):
        read_pickle(tmp_path)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(bytes(1000)))
    with pytest.raises(DataError, match="a pickle of at most 1000 is accepted"):
        read_pickle(tmp_path / "a.pkl", most_bytes=1000)


def _valuable() -> Any:
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), dtype=np.uint8)
    return {"image_data": images, "class_dict": {"a": [0], "b": [1]}, "more": [1.5, None, True, b"x", ("ü", 2**80, np.float32(1))]}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_cut_anywhere_is_refused(protocol: int) -> None:
    whole = pickle.dumps(_valuable(), protocol)
    for length in range(len(whole)):
        with pytest.raises(DataError):
            unpickle(whole[:length], where="cut")
    old = _Python2.pickle(CIFAR)
    for length in (*range(300), *range(300, len(old), 101), len(old) - 1):
        with pytest.raises(DataError):
            unpickle(old[:length], where="cut")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_with_changed_bytes_raises_nothing_but_data_errors(protocol: int) -> None:
    whole = pickle.dumps(_valuable(), protocol)
    random = np.random.default_rng(protocol)
    refused = 0
    for place in range(len(whole)):
        for changed in (whole[place] ^ 1, int(random.integers(0, 256))):
            try:
                unpickle(whole[:place] + bytes([changed]) + whole[place + 1 :], where="changed")
            except MetashotError:
                refused += 1
    assert refused > 200


@given(content=st.binary(max_size=60), protocol=st.sampled_from(PROTOCOLS))
def test_noise_raises_nothing_but_data_errors(content: bytes, protocol: int) -> None:
    with contextlib.suppress(DataError):
        unpickle(b"\x80" + bytes([protocol]) + content, where="noise")


# what would take all memory or time


def _array(shape: bytes, dtype: bytes = b"U\x02u1", *, begun: bytes = b"K\x00\x85", content: bytes = b"U\x01x") -> bytes:
    begin = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + begun + b"U\x01b\x87R"
    return b"\x80\x02" + begin + b"(K\x01" + shape + b"cnumpy\ndtype\n" + dtype + b"K\x00K\x01\x87R\x89" + content + b"tb."


BIG = b"\x8a\x05\0\0\0\0\x10"


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"short.",
        b"\x80\x04\x8d" + struct.pack("<Q", (1 << 64) - 1) + b"short.",
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 36) + b"short.",
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.",
        b"\x80\x02B" + struct.pack("<I", (1 << 32) - 1) + b"short.",
        b"\x80\x02T" + struct.pack("<i", (1 << 31) - 1) + b"short.",
        b"\x80\x02\x8b" + struct.pack("<i", (1 << 31) - 1) + b"short.",
        _array(BIG + b"\x85"),
        _array(b"K\x00" + BIG + b"\x86", content=b"U\x00") + b"never",
        _array(b"K\x01\x85", b"U\x0aS999999999"),
        _array(b"K\x01\x85", b"U\x02S0"),
        _array(b"J\xff\xff\xff\xff\x85"),
        b"\x80\x02cnumpy\nndarray\n" + BIG + b"\x85\x85R.",
        b"\x80\x02c_codecs\nencode\n" + pickle.dumps("a" * 1000, 2)[2:-1] + b"U\x03hex\x86R.",
        b"\x80\x02c_codecs\nencode\n" + pickle.dumps("a" * 1000, 2)[2:-1] + b"U\x06utf-32\x86R.",
    ],
)
def test_sizes_that_a_pickle_states_are_not_believed(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    before = getrusage(RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError):
        read_pickle(tmp_path / "a.pkl")
    assert (
        getrusage(RUSAGE_SELF).ru_maxrss - before < 50_000
    )  # kB that were filled: Python's reader reserves what it is told, up to all there is


@pytest.mark.parametrize("numbered", [b"r\xff\xff\xff\x07", b"p134217727\n"])
@pytest.mark.parametrize(
    "before", [b"", b"\x80\x02c_codecs\nencode\n0", b"V" + b"a" * 300 + b"\n0", b"\x80\x05\x96\x03\0\0\0\0\0\0\0p1\n0", b"U\x02r.0I5\n0"]
)
def test_numbers_of_values_are_not_believed(before: bytes, numbered: bytes, tmp_path: Path) -> None:
    """Python's reader makes room for all numbers up to twice the one it meets: two gigabytes here."""
    (tmp_path / "a.pkl").write_bytes(before + b"N" + numbered + b".")
    before_it = getrusage(RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"it numbers a value 134217727 and has [0-9]+ bytes"):
        read_pickle(tmp_path / "a.pkl")
    assert getrusage(RUSAGE_SELF).ru_maxrss - before_it < 50_000


def _frame(content: bytes) -> bytes:
    return b"\x95" + struct.pack("<Q", len(content)) + content


@pytest.mark.parametrize("filling", [b"", b"N0" * 100_000], ids=["short", "longer than a buffer"])
@pytest.mark.parametrize(
    ("within", "after"),
    [
        (b"Np-", b"134217727\n."),
        (b"J\0\0\0", b"\0U\x07\0Nr\xff\xff\xff\x07."),
        (b"\x95" + struct.pack("<Q", 20) + b"J\0\0\0", b"\0U\x07\0Nr\xff\xff\xff\x07."),
    ],
    ids=["text", "number", "frame"],
)
def test_a_frame_that_ends_within_an_instruction_is_refused(within: bytes, after: bytes, filling: bytes, tmp_path: Path) -> None:
    """Python's reader would leave the rest of the frame, and begin the argument anew after it."""
    content = b"\x80\x04" + _frame(filling + within) + after
    (tmp_path / "a.pkl").write_bytes(content)
    before = getrusage(RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="one of its frames ends within an instruction"):
        unpickle(content, where="a")
    with pytest.raises(DataError, match="one of its frames ends within an instruction"):
        read_pickle(tmp_path / "a.pkl")
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 50_000


def test_numbers_that_went_on_from_other_pickles_are_read() -> None:
    """One writer, several pickles: each by itself has numbers that begin where those of the last ended."""
    stream = BytesIO()
    writer = pickle.Pickler(stream, 2)
    for number in range(200):
        start = stream.tell()
        writer.dump([number])
    assert unpickle(stream.getvalue()[start:], where="a") == [199]


def test_the_shape_that_an_array_is_begun_with_plays_no_part() -> None:
    for begun in (b"K\x00\x85", BIG + b"\x85"):
        assert unpickle(_array(b"K\x01\x85", begun=begun), where="a").tolist() == [ord("x")]


def test_only_the_byte_order_of_a_type_is_taken_from_its_state() -> None:
    """The state of numpy's own data types also has their size and flags: whether they hold Python objects, and how long an item is."""

    def typed(spec: bytes, state: bytes) -> bytes:
        return _array(b"K\x01\x85", spec).replace(b"\x87R\x89", b"\x87R(K\x03" + state + b"tb\x89")

    for size, flags in [(b"M\xff\xff", b"K\x00"), (b"K\x01", b"K\x3f"), (b"M\xff\xff", b"K\x3f")]:
        found = unpickle(typed(b"U\x02S1", b"U\x01|NNN" + size + b"K\x01" + flags), where="a")
        _same(found, np.array([b"x"]))
        assert not found.dtype.hasobject
    for state in (b"U\x01|NNN", b"U\x01xNNNK\x01K\x01K\x00", b"U\x01|NU\x01a\x85}K\x01K\x01K\x00", b"U\x01|K\x01NNK\x01K\x01K\x00"):
        with pytest.raises(DataError, match=r"compound type|damaged"):
            unpickle(typed(b"U\x02S1", state), where="a")


def test_what_a_shape_says_is_checked_against_the_content() -> None:
    for shape in (
        b"K\x02\x85",
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86",
        b"K\x01",
        b"U\x01a\x85",
        b"G" + struct.pack(">d", 1) + b"\x85",
        b"N",
    ):
        with pytest.raises(DataError, match="array"):
            unpickle(_array(shape), where="a")
    with pytest.raises(DataError, match="with 2 bytes of content"):
        unpickle(_array(b"K\x01\x85", content=b"U\x02xy"), where="a")


def test_an_array_has_the_last_state_it_is_given() -> None:
    again = b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R\x89U\x02yztb."
    assert unpickle(_array(b"K\x01\x85")[:-1] + again, where="a").tolist() == [ord("y"), ord("z")]


def test_values_that_repeat_themselves_without_end_are_refused() -> None:
    laughs = b"\x80\x02(lq\x00" + b"".join(b"(" + b"h%c" % place * 10 + b"lq%c" % (place + 1) for place in range(20)) + b"."
    for endless in (laughs, b"\x80\x02" + b"K\x01" + b"2\x86" * 60 + b"."):
        with pytest.raises(DataError, match="it would be more values than it has bytes"):
            unpickle(endless, where="a")
    shared = ["a" * 100] * 50
    _same(unpickle(pickle.dumps([shared, shared, {"again": shared}]), where="a"), [shared, shared, {"again": shared}])


def test_values_that_contain_themselves_are_refused() -> None:
    loop: list[Any] = []
    loop.append({"deeper": loop})
    for protocol in PROTOCOLS:
        with pytest.raises(DataError, match="or contain themselves"):
            unpickle(pickle.dumps([1, loop], protocol), where="a")


def test_values_that_lie_too_deep_are_refused() -> None:
    for nested in (b"]" * 1000 + b"a" * 999, b")" + b"\x85" * 100_000):
        with pytest.raises(DataError, match="more than 64 deep"):
            unpickle(b"\x80\x02" + nested + b".", where="a")
    assert unpickle(b"\x80\x02" + b"]" * 64 + b"a" * 63 + b".", where="a")


def test_what_other_modules_registered_for_pickles_is_out_of_reach(tmp_path: Path) -> None:
    copyreg.add_extension("posix", "system", 240)
    try:
        for opcode in (b"\x82\xf0", b"\x83\xf0\0", b"\x84\xf0\0\0\0"):
            content = b"\x80\x02" + opcode + b"(" + pickle.dumps(f"touch '{tmp_path}/made'", 2)[2:-1] + b"tR."
            pickle.loads(content)  # from now on Python's reader has it at hand and asks nobody
            (tmp_path / "made").unlink()
            with pytest.raises(DataError, match=r"wants 'posix\.system'"):
                unpickle(content, where="a")
            assert not (tmp_path / "made").exists()
    finally:
        copyreg.remove_extension("posix", "system", 240)


def test_other_readers_do_not_get_what_this_one_looked_up() -> None:
    copyreg.add_extension("numpy", "dtype", 241)
    try:
        with pytest.raises(DataError, match="holds a value of type Name"):
            unpickle(b"\x80\x02\x82\xf1.", where="a")
        assert pickle.loads(b"\x80\x02\x82\xf1.") is np.dtype
    finally:
        copyreg.remove_extension("numpy", "dtype", 241)
