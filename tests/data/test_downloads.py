"""Downloads of Omniglot's and CIFAR-100's archives, from a server on this machine that answers well, wrongly, partly or never."""

import gzip
import io
import socketserver
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from hashlib import md5
from pathlib import Path

import pytest

from metashot.data import downloads
from metashot.data.cifar import fetch as fetch_cifar
from metashot.data.omniglot import find_sources
from metashot.data.progress import reporting
from metashot.errors import DataError, MetashotError

_PAGE = b"<!DOCTYPE html><title>Moved</title><p>Please log in."


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("images_background/x.png", bytes(200_000))
    return stream.getvalue()


def _tar_gz() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("cifar-100-python/meta")
        entry.size = 200_000
        archive.addfile(entry, io.BytesIO(bytes(range(200)) * 1000))
    return gzip.compress(stream.getvalue(), compresslevel=0, mtime=0)


def _fetch_omniglot(root: Path, address: str, checksum: str) -> Path:
    return find_sources(root, download=True, base_url=address, md5={"images_background": checksum})["images_background"]


def _fetch_cifar(root: Path, address: str, checksum: str) -> Path:
    return fetch_cifar("cifar-fs", base_url=address, md5=checksum) / "cifar-100-python.tar.gz"


Fetch = Callable[[Path, str, str], Path]
_SETS = {"omniglot": (_fetch_omniglot, "images_background.zip", _zip()), "cifar": (_fetch_cifar, "cifar-100-python.tar.gz", _tar_gz())}


@pytest.fixture(params=sorted(_SETS))
def archive(request: pytest.FixtureRequest) -> tuple[Fetch, str, bytes]:
    """How a data set is fetched, the name of its archive, and what a good one holds."""
    return _SETS[request.param]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """A function that makes a server send exactly these bytes to whoever asks, then hang up, or say no more; returns its address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    over = threading.Event()
    servers: list[socketserver.ThreadingTCPServer] = []

    def start(head: str, body: bytes = b"", *, stall: bool = False) -> str:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while self.rfile.readline().strip():
                    pass
                self.wfile.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body if head else b"")
                self.wfile.flush()
                if stall:
                    over.wait(60)

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    over.set()
    for server in servers:
        server.shutdown()
        server.server_close()


def _ok(length: int) -> str:
    return f"HTTP/1.1 200 OK\nContent-Length: {length}\nConnection: close"


def _nothing_kept(cache: Path) -> bool:
    return [path for path in cache.rglob("*") if path.is_file()] == []


def test_an_archive_is_fetched_once_whole_and_kept_in_the_cache(
    archive: tuple[Fetch, str, bytes], answer: Callable[..., str], cache: Path, tmp_path: Path
) -> None:
    fetch, name, content = archive
    found = fetch(tmp_path, answer(_ok(len(content)), content), md5(content).hexdigest())
    assert found.name == name
    assert cache in found.parents
    assert found.read_bytes() == content
    assert fetch(tmp_path, answer("HTTP/1.1 404 Not Found"), md5(content).hexdigest()) == found
    assert [path.name for path in found.parent.iterdir()] == [name]


def test_a_damaged_download_is_fetched_again(
    archive: tuple[Fetch, str, bytes], answer: Callable[..., str], cache: Path, tmp_path: Path
) -> None:
    fetch, _, content = archive
    address = answer(_ok(len(content)), content)
    found = fetch(tmp_path, address, md5(content).hexdigest())
    found.write_bytes(content[:-1] + b"!")
    assert fetch(tmp_path, address, md5(content).hexdigest()).read_bytes() == content


@pytest.mark.parametrize(
    ("head", "part", "message"),
    [
        pytest.param(_ok, 0.5, r"could not be downloaded \(.*IncompleteRead.*by hand", id="cut half-way"),
        pytest.param(_ok, 0.0, r"could not be downloaded \(.*IncompleteRead.*by hand", id="cut after the head"),
        pytest.param(lambda _: "HTTP/1.1 200 OK\nConnection: close", 0.5, r"whose MD5 is not 0{32}; it was not kept", id="cut, no length"),
        pytest.param(
            lambda _: "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nFFFFF", 0.5, r"could not be downloaded \(", id="cut inside a chunk"
        ),
        pytest.param(_ok, 1.0, r"whose MD5 is not 0{32}; it was not kept.*by hand", id="wrong checksum"),
        pytest.param(lambda _: "HTTP/1.1 404 Not Found\nContent-Length: 0", 0.0, r"could not be downloaded \(404", id="404"),
        pytest.param(lambda _: "HTTP/1.1 503 Busy\nContent-Length: 0", 0.0, r"could not be downloaded \(503", id="503"),
        pytest.param(lambda _: "", 0.0, r"could not be downloaded \(.*[Cc]onnection", id="no answer"),
        pytest.param(lambda _: "220 smtp.example.org ready", 0.0, r"could not be downloaded \(", id="no web server"),
    ],
)
def test_what_goes_wrong_on_the_way_is_named_in_one_line_and_nothing_is_kept(
    head: Callable[[int], str],
    part: float,
    message: str,
    archive: tuple[Fetch, str, bytes],
    answer: Callable[..., str],
    cache: Path,
    tmp_path: Path,
) -> None:
    fetch, name, content = archive
    address = answer(head(len(content)), content[: int(part * len(content))])
    with pytest.raises(DataError, match=rf"^{address}{name} .*{message}") as caught:
        fetch(tmp_path, address, "0" * 32)
    assert "\n" not in str(caught.value)
    assert _nothing_kept(cache)


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (_PAGE, r"what came is a web page \(HTML\)"),
        (b"", "what came is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "what came is a Git LFS pointer"),
    ],
    ids=["page", "empty", "pointer"],
)
def test_what_is_sent_in_place_of_an_archive_is_named_even_with_the_checksum_asked_for(
    page: bytes, message: str, archive: tuple[Fetch, str, bytes], answer: Callable[..., str], cache: Path, tmp_path: Path
) -> None:
    fetch, name, _ = archive
    with pytest.raises(DataError, match=rf"{name} did not give an archive: {message}"):
        fetch(tmp_path, answer(_ok(len(page)), page), md5(page).hexdigest())
    assert _nothing_kept(cache)


@pytest.mark.parametrize("part", [None, 0.0, 0.5], ids=["at once", "after the head", "half-way"])
def test_a_server_that_says_no_more_is_given_up(
    part: float | None,
    archive: tuple[Fetch, str, bytes],
    answer: Callable[..., str],
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(downloads, "_TIMEOUT", 0.3)
    fetch, _, content = archive
    head, sent = ("", b"") if part is None else (_ok(len(content)), content[: int(part * len(content))])
    with pytest.raises(DataError, match=r"could not be downloaded \(.*[Tt]imed out"):
        fetch(tmp_path, answer(head, sent, stall=True), md5(content).hexdigest())
    assert _nothing_kept(cache)


def test_a_cache_that_cannot_be_written_is_named(
    archive: tuple[Fetch, str, bytes], answer: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    monkeypatch.setenv("METASHOT_CACHE", str(tmp_path / "file"))
    fetch, _, content = archive
    with pytest.raises(MetashotError, match=r"Cannot write .*file.*METASHOT_CACHE"):
        fetch(tmp_path, answer(_ok(len(content)), content), md5(content).hexdigest())


def test_progress_of_a_download_is_told_in_bytes(
    archive: tuple[Fetch, str, bytes], answer: Callable[..., str], cache: Path, tmp_path: Path
) -> None:
    fetch, name, content = archive
    heard: list[tuple[str, int, int]] = []
    address = answer(_ok(len(content)), content)
    with reporting(lambda what, done, total: heard.append((what, done, total))):
        fetch(tmp_path, address, md5(content).hexdigest())
    done = [each for _, each, _ in heard]
    assert {(what, total) for what, _, total in heard} == {(f"downloading {address}{name}", len(content))}
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == len(content)
    assert len(set(done)) > 3


def test_a_download_of_unknown_length_tells_nothing_and_works(
    archive: tuple[Fetch, str, bytes], answer: Callable[..., str], cache: Path, tmp_path: Path
) -> None:
    fetch, _, content = archive
    heard: list[str] = []
    with reporting(lambda what, done, total: heard.append(what)):
        found = fetch(tmp_path, answer("HTTP/1.1 200 OK\nConnection: close", content), md5(content).hexdigest())
    assert found.read_bytes() == content
    assert heard == []
