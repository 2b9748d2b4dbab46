"""A small Omniglot in the true file layout, drawn by the tests, and a web server on this machine."""

import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from metashot.data.omniglot_catalogue import Catalogue


class Tiny:
    """The small Omniglot, and how to write it down."""

    # "Ab-C" and "Ab" sort differently as names and as paths; "Zed" has characters in two splits, as Gurmukhi has.
    catalogue = Catalogue(
        archives={"images_background": {"Ab": 3, "Ab-C": 2}, "images_evaluation": {"Zed": 3}},
        parts={"train": {"Ab": (1, 3), "Zed": (1, 1)}, "val": {"Ab-C": (1, 2)}, "test": {"Zed": (2, 3)}},
        drawings=3,
    )

    @staticmethod
    def picture(number: int, side: int = 105) -> bytes:
        """A 1-bit PNG, another one for each number."""
        ink = np.random.default_rng(number).random((side, side)) < 0.1
        ink[number % 50 : number % 50 + 30, 20 + number % 7 : 24 + number % 7] = True
        stream = BytesIO()
        Image.fromarray(~ink).save(stream, format="PNG")
        return stream.getvalue()

    @classmethod
    def files(cls, archive: str) -> dict[str, bytes]:
        """Name -> content of every file of one archive."""
        files = {}
        number = 0 if archive == "images_background" else 500
        for alphabet, last in cls.catalogue.archives[archive].items():
            for character in range(1, last + 1):
                for drawing in range(1, cls.catalogue.drawings + 1):
                    name = f"{archive}/{alphabet}/character{character:02d}/{number // cls.catalogue.drawings:04d}_{drawing:02d}.png"
                    files[name] = cls.picture(number)
                    number += 1
        return files

    @staticmethod
    def zip(path: Path, files: dict[str, bytes]) -> Path:
        """Write `files` as a zip archive."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    @staticmethod
    def tar(path: Path, files: dict[str, bytes], mode: Literal["w", "w:gz", "w:bz2", "w:xz"] = "w", form: int = tarfile.PAX_FORMAT) -> Path:
        """Write `files` as a tar archive, in the order given, with an entry for each folder above them as `tar` writes it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, mode, format=form) as archive:
            folders: set[str] = set()
            for name, content in files.items():
                for folder in reversed(Path(name).parents[:-1]):
                    if folder.as_posix() not in folders:
                        folders.add(folder.as_posix())
                        above = tarfile.TarInfo(folder.as_posix())
                        above.type, above.mode = tarfile.DIRTYPE, 0o755
                        archive.addfile(above)
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, BytesIO(content))
        return path

    @staticmethod
    def folder(root: Path, files: dict[str, bytes]) -> Path:
        """Write `files` under the folder `root`."""
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        return root

    @classmethod
    def zips(cls, root: Path) -> dict[str, Path]:
        """Both archives as zip files in `root`."""
        return {archive: cls.zip(root / f"{archive}.zip", cls.files(archive)) for archive in cls.catalogue.archives}

    @classmethod
    def folders(cls, root: Path) -> dict[str, Path]:
        """Both archives as extracted folders in `root`."""
        return {archive: cls.folder(root, cls.files(archive)) / archive for archive in cls.catalogue.archives}


@pytest.fixture
def tiny() -> type[Tiny]:
    return Tiny


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    monkeypatch.setenv("METASHOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


Serve = Callable[[dict[str, tuple[int, bytes]]], str]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """A function that serves path -> (status, content) on this machine and returns the address, with a slash at the end."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers: list[ThreadingHTTPServer] = []

    def start(pages: dict[str, tuple[int, bytes]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, content = pages.get(self.path, (404, b"<!DOCTYPE html><title>not here</title>"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
