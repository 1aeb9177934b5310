"""Fetching a file over HTTP, going on where an earlier transfer broke off."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, InvalidURL
from pathlib import Path
from ssl import SSLCertVerificationError
from time import sleep
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from polyp.errors import UserError
from polyp.files import write_json

log = logging.getLogger(__name__)

MAX_BYTES = 2 * 10**9  # of a file; the datasets have less than a tenth of it
CHUNK = 1 << 16
PASSING = {408, 416, 425, 429, 500, 502, 503, 504}  # answers that may be others the next time
BY_HAND = "url= names another place, archive= a file that you have fetched by hand"


@dataclass(frozen=True)
class Beginning:
    """What is here of a file, and what the server said of the whole.

    Attributes:
        validator: its ETag or the time of its last change: another one is another file.
        size: bytes of the whole.
        start: bytes that are here, more than 0.
    """

    validator: str
    size: int
    start: int


class Part:
    """A file on its way: its beginning in `path`, and beside it in `path`.json what it is of."""

    def __init__(self, path: Path, url: str):
        self.path, self.url = path, url
        self.notes = path.with_name(f"{path.name}.json")

    def beginning(self) -> Beginning | None:
        """What there is to go on from."""
        try:
            notes = json.loads(self.notes.read_text(encoding="utf-8"))
            same = notes.pop("url") == self.url
            beginning = Beginning(**notes, start=self.path.stat().st_size)
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            return None  # not there, not readable, or not what `begin` writes
        return beginning if same and 0 < beginning.start <= beginning.size else None

    def begin(self, validator: str | None, size: int | None) -> None:
        """Starts an empty file; there will be no going on from it if the server says too little."""
        self.discard()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        if validator and size is not None:
            write_json(self.notes, {"url": self.url, "validator": validator, "size": size})

    def discard(self) -> None:
        self.notes.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


class _Broken(Exception):
    """The transfer failed in a way that another attempt may mend."""


def fetch(part: Part, attempts: int, timeout: float) -> None:
    """Completes a file.

    Args:
        part: what to fetch, and where.
        attempts: how often to try when the connection fails.
        timeout: seconds of silence after which it has failed.

    Raises:
        UserError: the file cannot be had. What has arrived is kept in `part`.
    """
    if not re.match("https?://[^/]", part.url, re.IGNORECASE):
        raise UserError(f"url={part.url}: not an address that starts with https://; {BY_HAND}")
    try:
        for attempt in range(1, attempts + 1):
            try:
                return _attempt(part, timeout)
            except _Broken as fault:
                if attempt == attempts:
                    message = f"{part.url}: {fault}, attempts={attempts}; {BY_HAND}"
                    raise UserError(message) from fault
                pause = min(2 ** (attempt - 1), 60)
                log.info("%s; trying again in %d s", fault, pause)
                sleep(pause)
    except BaseException:  # Ctrl-C too
        if not part.notes.exists():
            part.discard()  # of no use another time
        raise


def _attempt(part: Part, timeout: float) -> None:
    here = part.beginning()
    if here and here.start == here.size:
        log.info("%s is whole already", part.path)
        return
    headers = {"User-Agent": "polyp"}
    if here:
        # The rest if the file is still the same, else the whole of the new one.
        headers |= {"Range": f"bytes={here.start}-", "If-Range": here.validator}
    with _connection(part):
        response = urlopen(Request(part.url, headers=headers), timeout=timeout)
    with response:
        start, size = _accepted(response, part, here)
        title = f"Fetching {part.path.stem}"
        bar = tqdm(desc=title, total=size, initial=start, unit="B", unit_scale=True, disable=None)
        with bar, part.path.open("ab") as file:
            arrived = start
            while chunk := _read(response, part):
                file.write(chunk)
                bar.update(len(chunk))
                arrived += len(chunk)
                _check_size(part, arrived)
    if size is not None and arrived != size:
        raise _Broken(f"the connection broke off after {arrived:,} of {size:,} bytes")


def _accepted(response: HTTPResponse, part: Part, here: Beginning | None) -> tuple[int, int | None]:
    """Where in the file an answer starts, and the size of the whole; prepares `part` for it."""
    if response.headers.get_content_type() == "text/html":
        raise UserError(f"{part.url}: the server sends a web page, not an archive; {BY_HAND}")
    validator = _validator(response)
    if response.status != 206:
        size = response.length
        _check_size(part, size or 0)
        if here:
            log.info("the server sends the file from its beginning")
        part.begin(validator, size)
        return 0, size
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    start, size = (int(number) for number in span.groups()) if span else (None, None)
    # For servers that know Range, but not If-Range.
    same = here and start == here.start and size == here.size
    if not same or (validator and validator != here.validator):
        part.discard()
        raise _Broken("the server has another file than before, so from the beginning")
    log.info("going on after %s of %s bytes", f"{start:,}", f"{size:,}")
    return start, size


def _read(response: HTTPResponse, part: Part) -> bytes:
    with _connection(part):
        return response.read1(CHUNK)  # `read` would lose what came before a silence


def _validator(response: HTTPResponse) -> str | None:
    etag = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):  # a weak one promises less than the same bytes
        return etag
    return response.headers.get("Last-Modified")


def _check_size(part: Part, size: int) -> None:
    if size > MAX_BYTES:
        part.discard()
        raise UserError(f"{part.url}: larger than {MAX_BYTES:,} bytes, so not the dataset")


@contextmanager
def _connection(part: Part) -> Iterator[None]:
    """Around what talks to the server: tells what another attempt may mend from what it can't."""
    try:
        yield
    except HTTPError as error:
        error.close()
        answer = f"the server answers {error.code} {error.reason}"
        if error.code == 416:  # no such range: what is here is not of the server's file
            part.discard()
        if error.code in PASSING:
            raise _Broken(answer) from error
        raise UserError(f"{part.url}: {answer}; {BY_HAND}") from error
    except URLError as error:
        if isinstance(error.reason, SSLCertVerificationError):
            raise UserError(f"{part.url}: {error.reason.verify_message}; {BY_HAND}") from error
        raise _Broken(f"no connection ({_reason(error.reason)})") from error
    except (InvalidURL, ValueError) as error:  # ValueError: also what no host can be called
        raise UserError(f"url={part.url}: not an address ({error})") from error
    except (HTTPException, OSError) as error:
        raise _Broken(f"the connection broke off ({_reason(error)})") from error


def _reason(error: object) -> str:
    return str(getattr(error, "strerror", None) or error)
