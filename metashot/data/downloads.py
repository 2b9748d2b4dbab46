"""Public archives fetched into the cache, and checked before they are kept."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ..errors import DataError, MetashotError
from .archives import check_archive
from .progress import track

_TIMEOUT = 60  # seconds without a byte
_CHUNK = 1 << 16  # bytes


def download_archive(url: str, folder: Path, *, md5: str) -> Path:
    """The file of `url` in `folder`: as it is if it is there and has the checksum, otherwise downloaded.

    Raises:
        DataError: if the server does not send all of it, sends a web page, or sends other bytes than `md5` says; nothing is kept then.
        MetashotError: if `folder` cannot be written.
    """
    import pooch  # here: only a download needs it
    from requests.exceptions import RequestException

    advice = "Try again later, or get the file by hand and give its folder with --data-root."

    def fetch(source: str, output: Any, caller: Any) -> None:
        _receive(source, Path(output))
        try:
            check_archive(Path(output))
        except DataError as error:
            raise DataError(f"{url} did not give an archive: {str(error).replace(str(output), 'what came')}") from None

    try:
        return Path(pooch.retrieve(url, known_hash=f"md5:{md5}", fname=url.rsplit("/", 1)[-1], path=folder, downloader=fetch))
    except MetashotError:
        raise
    except RequestException as error:
        raise DataError(f"{url} could not be downloaded ({error}). {advice}") from error
    except ValueError as error:
        raise DataError(f"{url} gave a file whose MD5 is not {md5}; it was not kept. {advice}") from error
    except OSError as error:
        raise MetashotError(
            f"Cannot write {folder}: {error.strerror or error}. Free space or set METASHOT_CACHE to another folder."
        ) from error


def _receive(url: str, path: Path) -> None:
    """Write to `path` what the server sends; tells the progress if the server says how much there is."""
    import requests

    # not pooch's own downloader: it leaves the connection open when something goes wrong
    with requests.get(url, stream=True, timeout=_TIMEOUT) as response, path.open("wb") as file:
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else 0
        with track(f"downloading {url}", total) if total else nullcontext() as advance:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                if advance is not None:
                    advance(min(file.tell(), total))  # more than that, if the server packed what it sends
