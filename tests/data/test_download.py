"""scripts/download_data.py against a server on this machine that has all the faults of others."""

import hashlib
import json
import os
import re
import resource
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polyp.data import CVCClinicDB, KvasirSEG
from polyp.data.transfer import CHUNK, Part, fetch
from polyp.errors import UserError


class Server(ThreadingHTTPServer):
    """Serves `content` at every path. What it does wrong is set by its attributes."""

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.headers: dict[str, str] = {"ETag": '"one"', "Content-Type": "application/zip"}
        self.ranges = True  # knows Range
        self.if_range = True  # knows If-Range
        self.statuses: list[int] = []  # of the first requests, which fail
        self.cuts: list[int] = []  # bytes after which the first answers break off
        self.silent = threading.Event()  # set: breaks in its answers are silences
        self.closed = threading.Event()
        self.asked: list[dict[str, str]] = []  # headers of the requests

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/kvasir-seg.zip"

    def ranges_asked(self) -> list[str | None]:
        return [headers.get("Range") for headers in self.asked]

    def handle_error(self, *_) -> None:
        """A client that hangs up is no fault here."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(dict(self.headers))
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        size, start = len(server.content), 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        validators = server.headers.get("ETag"), server.headers.get("Last-Modified")
        if server.if_range and self.headers.get("If-Range") not in validators:
            asked = None
        if server.ranges and asked:
            start = int(asked[1])
            if start >= size:
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        else:
            self.send_response(200)
        headers = {"Content-Length": str(size - start)} | server.headers
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        body = server.content[start:]
        if server.cuts:
            body = body[: server.cuts.pop(0)]
        self.wfile.write(body)
        if server.silent.is_set():
            server.closed.wait(30)

    def log_message(self, *_) -> None:
        pass


def zipped(folder: Path, archive: Path, below: str = "Kvasir-SEG/") -> Path:
    """Packs a folder as the dataset's authors did, with what a Mac adds to it."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.mkdir(below or "images")
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, below + path.relative_to(folder).as_posix())
        file.writestr("__MACOSX/._Kvasir-SEG", "x")
        file.writestr(f"{below}.DS_Store", "x")
    return archive


@pytest.fixture
def content(kvasir_dataset: Path) -> bytes:
    """An archive of twelve pairs and a file beside them, large enough to break off in."""
    (kvasir_dataset / "kavsir_bboxes.json").write_text("{}")
    noise = np.random.default_rng(0).bytes(4 * CHUNK)
    (kvasir_dataset / "annotations.bin").write_bytes(noise)
    archive = zipped(kvasir_dataset, kvasir_dataset.parent / "served.zip")
    content = archive.read_bytes()
    archive.unlink()
    return content


@pytest.fixture
def server(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server(content)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.closed.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which take no time here."""
    pauses: list[float] = []
    monkeypatch.setattr("polyp.data.transfer.sleep", pauses.append)
    return pauses


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for the dataset; it is not there yet, and neither is the one around it."""
    return tmp_path / "data" / "Kvasir-SEG"


@pytest.fixture
def options(server: Server, place: Path) -> Callable[..., list[str]]:
    """What to give the script, with the test's own options in the place of these."""

    def merged(*own: str) -> list[str]:
        options = {"data": "kvasir", "url": server.url, "root": place, "pairs": 12}
        options |= dict(option.split("=", 1) for option in own)
        return ["download_data", *(f"{key}={value}" for key, value in options.items())]

    return merged


@pytest.fixture
def get(script, options, capfd) -> Callable[..., str]:
    """Runs the script, which must end well; what it says."""

    def run(*own: str) -> str:
        capfd.readouterr()
        script(*options(*own))
        output = capfd.readouterr()
        assert output.err == ""
        return output.out

    return run


@pytest.fixture
def fails(script_refused, options) -> Callable[..., str]:
    """Runs the script, which must end with one line; that line."""
    return lambda *own: script_refused(*options(*own))


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_whole(place: Path, kvasir_dataset: Path, beside: tuple[str, ...] = ()) -> None:
    """The dataset is at its place, byte for byte, and nothing else is beside it."""
    assert files(place) == files(kvasir_dataset)
    assert sorted(path.name for path in place.parent.iterdir()) == sorted([place.name, *beside])
    assert len(KvasirSEG(place).samples()) == 12


def nothing_left(place: Path) -> bool:
    return not place.parent.exists() or not any(place.parent.iterdir())


# --- when all goes well


def test_the_dataset_is_fetched_and_checked(get, server, place, kvasir_dataset):
    said = get().splitlines()
    assert_whole(place, kvasir_dataset)
    assert re.match("For research and educational purposes only; please cite Jha", said[0])
    assert said[1:] == [
        f"Fetching {server.url}",
        f"{place}: 12 pairs, all readable",
        f"sha256 of the archive: {hashlib.sha256(server.content).hexdigest()}",
        f"Next: python train.py model=p4unet data=kvasir data.root={place}",
    ]
    assert server.ranges_asked() == [None]


def test_no_reader_meets_half_a_dataset(get, place, monkeypatch):
    """The folder is not there while its files are unpacked and read, and then by a renaming."""
    read, rename = KvasirSEG.read, Path.rename
    seen: list[str] = []

    def reading(self, sample):
        seen.append(f"read, {place.exists()}")
        return read(self, sample)

    def renaming(self, target):
        if target == place:
            seen.append(f"rename, {place.exists()}, {len(KvasirSEG(self).samples())}")
        return rename(self, target)

    monkeypatch.setattr(KvasirSEG, "read", reading)
    monkeypatch.setattr(Path, "rename", renaming)
    get()
    assert seen == ["read, False"] * 12 + ["rename, False, 12"]


def test_it_is_put_where_training_looks_for_it(script, server, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("POLYP_DATA", str(tmp_path / "all"))
    script("download_data", "data=kvasir", f"url={server.url}", "pairs=12")
    assert len(KvasirSEG(tmp_path / "all" / "Kvasir-SEG").samples()) == 12
    assert capfd.readouterr().out.endswith("Next: python train.py model=p4unet data=kvasir\n")


def test_the_archive_can_be_kept(get, server, place, kvasir_dataset):
    get("keep=true")
    assert_whole(place, kvasir_dataset, beside=("Kvasir-SEG.zip",))
    kept = place.with_name("Kvasir-SEG.zip")
    assert kept.read_bytes() == server.content
    again = place.with_name("again")
    get(f"archive={kept}", f"root={again}")
    assert files(again) == files(kvasir_dataset)
    assert kept.read_bytes() == server.content
    assert len(server.asked) == 1


def test_a_known_sha256_is_compared(get, fails, server, place):
    digest = hashlib.sha256(server.content).hexdigest()
    line = fails(f"sha256={'0a' * 32}")
    assert digest in line
    assert "0a0a" in line
    assert nothing_left(place)
    get(f"sha256={digest.upper()}")
    assert place.is_dir()


def test_an_archive_without_a_folder_around(get, kvasir_dataset, place, tmp_path):
    archive = zipped(kvasir_dataset, tmp_path / "flat.zip", below="")
    get(f"archive={archive}")
    assert files(place) == files(kvasir_dataset)
    assert archive.exists()


def test_a_link_is_followed(get, place, kvasir_dataset, tmp_path):
    place.parent.mkdir()
    place.symlink_to(tmp_path / "disk")
    get()
    assert place.is_symlink()
    assert files(tmp_path / "disk") == files(kvasir_dataset)


# --- when the connection fails


def test_a_broken_transfer_goes_on_at_the_right_byte(get, server, place, kvasir_dataset, pauses):
    server.cuts = [100_000, 50_000]
    said = get("keep=true")
    assert server.ranges_asked() == [None, "bytes=100000-", "bytes=150000-"]
    assert [headers.get("If-Range") for headers in server.asked] == [None, '"one"', '"one"']
    assert place.with_name("Kvasir-SEG.zip").read_bytes() == server.content
    assert_whole(place, kvasir_dataset, beside=("Kvasir-SEG.zip",))
    assert pauses == [1, 2]
    size = f"{len(server.content):,}"
    assert f"broke off after 100,000 of {size} bytes; trying again in 1 s" in said
    assert f"going on after 150,000 of {size} bytes" in said


def test_the_next_command_goes_on(get, fails, server, place, kvasir_dataset):
    server.cuts = [100_000, 50_000]
    line = fails("attempts=2")
    part = place.with_name("Kvasir-SEG.zip.part")
    assert f"150,000 bytes are kept in {part}: the same command goes on from there" in line
    assert part.read_bytes() == server.content[:150_000]
    assert not place.exists()
    get()
    assert server.ranges_asked() == [None, "bytes=100000-", "bytes=150000-"]
    assert_whole(place, kvasir_dataset)


@pytest.mark.parametrize(
    "notes", ["", "[]", "{}", '{"url": 1}', '{"url": "URL", "validator": "x", "more": 1}']
)
def test_unreadable_notes_of_a_transfer_are_not_relied_on(server, tmp_path, notes):
    part = Part(tmp_path / "a.part", server.url)
    part.path.write_bytes(b"left")
    part.notes.write_text(notes.replace("URL", server.url))
    fetch(part, attempts=1, timeout=10)
    assert server.ranges_asked() == [None]
    assert part.path.read_bytes() == server.content


def test_what_another_address_gave_is_not_gone_on_from(get, fails, server, place, kvasir_dataset):
    server.cuts = [100_000]
    fails("attempts=1")
    get(f"url={server.url}/mirror")
    assert server.ranges_asked() == [None, None]
    assert_whole(place, kvasir_dataset)


def test_a_mistyped_address_does_not_cost_what_had_arrived(fails, server, place):
    server.cuts = [100_000]
    fails("attempts=1")
    server.statuses = [404]
    fails(f"url={server.url}/typo")
    part = place.with_name("Kvasir-SEG.zip.part")
    assert part.read_bytes() == server.content[:100_000]


def test_a_server_that_ignores_ranges(get, server, place, kvasir_dataset):
    server.ranges = False
    server.cuts = [100_000]
    said = get()
    assert server.ranges_asked() == [None, "bytes=100000-"]
    assert "the server sends the file from its beginning" in said
    assert_whole(place, kvasir_dataset)


@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize("before", [0.9, 1, 2])
def test_a_file_that_has_changed_is_fetched_from_its_beginning(server, tmp_path, if_range, before):
    """Whether it has become longer, shorter, or neither."""
    part = Part(tmp_path / "a.part", server.url)
    now, server.content = server.content, b"\0" * int(before * len(server.content))
    here = len(now) + 10 if before == 2 else 100_000
    server.cuts = [here]
    with pytest.raises(UserError, match="broke off"):
        fetch(part, attempts=1, timeout=10)
    server.content, server.if_range = now, if_range
    server.headers["ETag"] = '"two"'
    fetch(part, attempts=2, timeout=10)
    assert part.path.read_bytes() == now
    assert server.ranges_asked() == [None, f"bytes={here}-", None][: 2 if if_range else 3]


def test_a_time_of_change_serves_as_well(get, server):
    server.headers |= {"ETag": 'W/"weak"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    server.cuts = [100_000]
    get()
    assert server.asked[1]["If-Range"] == "Mon, 01 Jan 2024 00:00:00 GMT"
    assert server.ranges_asked() == [None, "bytes=100000-"]


def test_without_a_sign_of_change_nothing_is_gone_on_from(get, fails, server, place):
    del server.headers["ETag"]
    server.cuts = [100_000]
    line = fails("attempts=1")
    assert "kept" not in line
    assert nothing_left(place)
    get()
    assert server.ranges_asked() == [None, None]


def test_a_server_that_falls_silent(get, server, place, kvasir_dataset):
    server.cuts = [100_000]
    server.silent.set()
    said = get("timeout=0.3")
    assert "timed out" in said
    assert server.ranges_asked() == [None, "bytes=100000-"]
    assert_whole(place, kvasir_dataset)


def test_a_busy_server_is_asked_again(get, server, pauses):
    server.statuses = [503, 429, 500]
    assert "the server answers 503 Service Unavailable; trying again in 1 s" in get()
    assert pauses == [1, 2, 4]


def test_a_missing_file_is_not_asked_for_again(fails, server, place, pauses):
    server.statuses = [404]
    assert "kvasir-seg.zip: the server answers 404 Not Found; url=" in fails()
    assert (len(server.asked), pauses) == (1, [])
    assert nothing_left(place)


def test_no_network(fails, place, pauses):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and no one listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x.zip"
        line = fails(f"url={url}", "attempts=3")
    assert f"{url}: no connection (Connection refused), attempts=3; url= names" in line
    assert pauses == [1, 2]
    assert nothing_left(place)


def test_ctrl_c(fails, server, place, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("polyp.data.transfer.sleep", interrupt)
    server.cuts = [100_000]
    assert "error: interrupted; 100,000 bytes are kept in" in fails()
    assert not place.exists()


# --- when something else than the dataset arrives


def test_a_body_that_is_shorter_than_told(fails, server, place):
    server.headers["Content-Length"] = str(len(server.content) + 1)
    server.ranges = False
    assert f"broke off after {len(server.content):,} of" in fails("attempts=2")
    assert len(server.asked) == 2
    assert not place.exists()


def test_a_length_that_cuts_the_archive(fails, server, place):
    server.headers["Content-Length"] = str(len(server.content) - 100)
    assert "a zip file that is damaged or cut off" in fails()
    assert nothing_left(place)


def test_an_endless_file_is_refused(fails, server, place, monkeypatch):
    server.headers["Content-Length"] = str(10**12)
    assert "larger than 2,000,000,000 bytes" in fails()
    monkeypatch.setattr("polyp.data.transfer.MAX_BYTES", 200_000)
    server.headers["Content-Length"] = "unknown"
    assert "larger than 200,000 bytes" in fails()
    assert nothing_left(place)


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/zip"])
def test_a_web_page(fails, server, place, kind):
    server.content = b"\n<!DOCTYPE html><title>Moved</title>"
    server.headers["Content-Type"] = kind
    assert "a web page, not a" in fails()
    assert nothing_left(place)


def test_a_web_page_does_not_cost_what_had_arrived(get, fails, server):
    server.cuts = [100_000]
    fails("attempts=1")
    right = server.headers
    server.headers = {"Content-Type": "text/html", "ETag": '"page"'}
    assert "100,000 bytes are kept" in fails()
    server.headers = right
    get()
    assert server.ranges_asked()[2] == "bytes=100000-"


def test_a_flipped_bit_is_found(fails, server, place):
    damaged = bytearray(server.content)
    damaged[len(damaged) // 2] ^= 1
    server.content = bytes(damaged)
    assert re.search("damaged or cut off .*; fetch it anew", fails())
    assert nothing_left(place)


def test_the_wrong_dataset(fails, server, place, kvasir_dataset, tmp_path):
    archive = zipped(kvasir_dataset, tmp_path / "a.zip")
    assert "12 pairs of image and mask instead of 1000; pairs=12" in fails("pairs=null")
    assert "instead of 11" in fails(f"archive={archive}", "pairs=11")
    (kvasir_dataset / "masks").rename(kvasir_dataset / "truth")
    line = fails(f"archive={zipped(kvasir_dataset, archive)}")
    assert f"{archive}: not the dataset: Kvasir-SEG not found" in line
    assert "a.zip/images and a.zip/masks" in line
    assert nothing_left(place)


def test_faulty_images(fails, place, kvasir_dataset, tmp_path):
    image = next((kvasir_dataset / "images").iterdir())
    image.write_bytes(image.read_bytes()[:300])
    archive = zipped(kvasir_dataset, tmp_path / "a.zip")
    line = fails(f"archive={archive}")
    assert f"not the dataset: Kvasir-SEG: a.zip/images/{image.name}" in line
    assert nothing_left(place)


def test_an_evil_archive_from_the_server(fails, server, place, kvasir_dataset, tmp_path):
    archive = zipped(kvasir_dataset, tmp_path / "evil.zip")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("../../evil.txt", "x")
    server.content = archive.read_bytes()
    assert "leads out of the folder" in fails()
    assert nothing_left(place)


# --- what is there already


def test_a_dataset_that_is_there_stays(get, server, kvasir_dataset):
    before = files(kvasir_dataset)
    said = get(f"root={kvasir_dataset}")
    assert f"{kvasir_dataset} is there already: 12 pairs, all readable\n" in said
    assert files(kvasir_dataset) == before
    assert not server.asked


def test_an_empty_folder_is_filled(get, place, kvasir_dataset):
    place.mkdir(parents=True)
    get()
    assert_whole(place, kvasir_dataset)


def spoil_with_file(place: Path) -> None:
    place.parent.mkdir(exist_ok=True)
    place.write_text("notes")


def spoil_with_folder(place: Path) -> None:
    place.mkdir(parents=True)
    (place / "thesis.tex").write_text("years of work")


def spoil_with_half(place: Path) -> None:
    for folder in ("images", "masks"):
        (place / folder).mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(place / "images" / "a.jpg")


def spoil_with_few(place: Path) -> None:
    spoil_with_half(place)
    Image.new("L", (9, 9)).save(place / "masks" / "a.jpg")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (spoil_with_file, "a file is there"),
        (spoil_with_folder, "something else than Kvasir-SEG is there"),
        (spoil_with_half, "a.jpg has no mask in"),
        (spoil_with_few, "1 pairs of image and mask instead of 12"),
    ],
)
def test_anything_else_there_is_left_alone(fails, server, place, spoil, expected):
    spoil(place)
    before = files(place.parent)
    line = fails()
    assert expected in line
    assert "move it away, or name another folder as root=" in line
    assert files(place.parent) == before
    assert not server.asked


# --- when the disk fails


def test_a_disk_that_is_full_during_the_transfer(get, fails, server, place, kvasir_dataset):
    """A limit on the size of files stands for the full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        line = fails()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large; 100,000 bytes are kept in" in line
    assert not place.exists()
    get()
    assert server.ranges_asked() == [None, "bytes=100000-"]
    assert_whole(place, kvasir_dataset)


def test_a_disk_that_is_full_when_unpacking(get, fails, server, place, kvasir_dataset, monkeypatch):
    def full(source, target):
        target.write(b"half")
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr("polyp.data.archive.shutil.copyfileobj", full)
        line = fails()
    assert f"No space left on device; {len(server.content):,} bytes are kept in" in line
    part = place.with_name("Kvasir-SEG.zip.part")
    assert sorted(place.parent.iterdir()) == [part, part.with_name("Kvasir-SEG.zip.part.json")]
    assert json.loads(part.with_name(f"{part.name}.json").read_text())["url"] == server.url
    assert f"{part} is whole already" in get()
    assert len(server.asked) == 1
    assert_whole(place, kvasir_dataset)


# --- CVC-ClinicDB


def test_cvc_is_not_fetched_but_explained(fails, script, options, place, server, capfd):
    assert f"data=cvc data.root={place}: nothing at {place} yet" in fails("data=cvc")
    with pytest.raises(SystemExit):
        script(*options("data=cvc"))
    said = capfd.readouterr().out
    assert "https://polyp.grand-challenge.org/CVCClinicDB/" in said
    assert f"{place}/Original/1.tif" in said
    assert f"python scripts/download_data.py data=cvc data.root={place} archive=FILE" in said
    assert not server.asked
    assert nothing_left(place)


def test_cvc_that_is_there_is_checked(get, fails, cvc_dataset):
    said = get("data=cvc", "pairs=25", f"root={cvc_dataset}")
    assert "25 pairs, all readable" in said
    assert "instead of 612" in fails("data=cvc", "pairs=null", f"root={cvc_dataset}")


@pytest.mark.parametrize("below", ["", "CVC-ClinicDB/", "CVC-ClinicDB/PNG/", "PNG/"])
def test_cvc_is_unpacked(get, cvc_dataset, place, tmp_path, below):
    archive = zipped(cvc_dataset, tmp_path / "cvc.zip", below)
    get("data=cvc", "pairs=25", f"archive={archive}")
    assert len(CVCClinicDB(place).samples()) == 25


# --- wrong options


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("data=synthetic", "data=synthetic: nothing to download; it is data=kvasir or data=cvc"),
        ("data=folder", "data=folder: nothing to download"),
        ("data=kvasri", "Could not find 'data/kvasri'; Available options in 'data':; base; cvc"),
        ("root=", "root=: must be a folder"),
        ("root=/", "root=/: must be a folder"),
        ("root=null", "root=None: must be a folder"),
        ("root=FILE/data/Kvasir-SEG", "is a file, not a folder"),
        ("root=" + "x" * 300, "File name too long"),
        ("url=kvasir-seg.zip", "url=kvasir-seg.zip: not an address that starts with https://"),
        ("url=file:///etc/passwd", "not an address that starts with https://"),
        ("url=http://", "url=http://: not an address"),
        ("url=http://a..b/x", "url=http://a..b/x: not an address"),
        ("url=http://127.0.0.1:port/x", "not an address"),
        ("url='http://[::1/x'", "not an address"),
        ("url='http://127.0.0.1/a b'", "not an address"),
        ("url=null", "url=None: not an address that starts with https://"),
        ("archive=nowhere.zip", "archive=nowhere.zip: no such file"),
        ("archive=.", "archive=.: no such file"),
        ("archive=FILE", "not a zip file"),
        ("sha256=abc", "sha256=abc: must be 64 hexadecimal digits"),
        ("pairs=0", "pairs=0: must be a number above 0"),
        ("pairs=many", "pairs=many: must be a number above 0"),
        ("attempts=true", "attempts=True: must be a number above 0"),
        ("attempts=1.5", "attempts=1.5: must be a number above 0"),
        ("attempts=null", "attempts=None: must be a number above 0"),
        ("timeout=nan", "timeout=nan: must be a number above 0"),
        ("timeout=inf", "timeout=inf: must be a number above 0, and at most 1,000,000"),
        ("keep=maybe", "keep=maybe: must be true or false"),
        ("overwrite=true", "overwrite"),
    ],
)
def test_a_wrong_option(fails, server, place, tmp_path, option, expected):
    (tmp_path / "notes.txt").write_text("not an archive")
    assert expected in fails(option.replace("FILE", str(tmp_path / "notes.txt")))
    assert not server.asked
    assert nothing_left(place)


def test_no_dataset_named(script_refused):
    assert "You must specify 'data'" in script_refused("download_data")


def test_a_kept_archive_is_not_overwritten(fails, server, place):
    place.parent.mkdir()
    kept = place.with_name("Kvasir-SEG.zip")
    kept.write_text("mine")
    assert f"keep=true: {kept} is there already; archive={kept} unpacks it" in fails("keep=true")
    assert kept.read_text() == "mine"
    assert not server.asked
