"""scripts/download_data.py against a server on this machine."""

import hashlib
import re
import socket
import stat
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

from polyp.data import CVCClinicDB, KvasirSEG
from polyp.data.download import unpack
from polyp.errors import UserError


class Server(ThreadingHTTPServer):
    """Serves `content` at every path, after the faults that it is told."""

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.statuses: list[int] = []  # of the first requests, which fail
        self.cuts: list[int] = []  # bytes after which the first answers break off
        self.asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/kvasir-seg.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else None
        self.wfile.write(self.server.content[:cut])

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
def server(kvasir_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda _: None)  # between attempts
    archive = zipped(kvasir_dataset, kvasir_dataset.parent / "served.zip")
    server = Server(archive.read_bytes())
    archive.unlink()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


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
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def nothing_left(place: Path) -> bool:
    return not files(place.parent) and not any(p.is_dir() for p in place.parent.glob("*"))


# --- when all goes well


def test_the_dataset_is_fetched_and_checked(get, server, place, kvasir_dataset):
    said = get().splitlines()
    assert files(place) == files(kvasir_dataset)
    assert re.match("For research and education only. Please cite Jha", said[0])
    digest = hashlib.sha256(server.content).hexdigest()
    assert said[1:] == [
        f"Downloading {server.url}",
        f"{place}: 12 pairs, all readable",
        f"sha256 of the archive: {digest}; sha256={digest} requires this archive",
        f"Next: polyp train model=p4unet data=kvasir data.root={place}",
    ]
    assert {path.name for path in place.parent.iterdir()} == {"Kvasir-SEG", ".Kvasir-SEG.lock"}
    assert "is complete: 12 pairs, all readable" in get()
    assert server.asked == 1


def test_no_reader_meets_half_a_dataset(get, place, monkeypatch):
    """The folder is not there while its files are unpacked and read."""
    read = KvasirSEG.read
    seen: list[bool] = []

    def reading(self, sample):
        seen.append(place.exists())
        return read(self, sample)

    monkeypatch.setattr(KvasirSEG, "read", reading)
    get()
    assert seen == [False] * 12


def test_it_is_put_where_training_looks_for_it(script, server, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("POLYP_DATA", str(tmp_path / "all"))
    script("download_data", "data=kvasir", f"url={server.url}", "pairs=12")
    assert len(KvasirSEG(tmp_path / "all" / "Kvasir-SEG").samples()) == 12
    assert capfd.readouterr().out.endswith("Next: polyp train model=p4unet data=kvasir\n")


def test_the_archive_can_be_kept(get, server, place, kvasir_dataset):
    get("keep=true")
    kept = place.with_name("Kvasir-SEG.zip")
    assert kept.read_bytes() == server.content
    again = place.with_name("again")
    get(f"archive={kept}", f"root={again}")
    assert files(again) == files(kvasir_dataset)
    assert server.asked == 1


def test_a_known_sha256_is_compared(get, fails, server, place):
    digest = hashlib.sha256(server.content).hexdigest()
    line = fails(f"sha256={'0a' * 32}", "attempts=1")
    assert digest in line
    assert "0a0a" in line
    assert nothing_left(place)
    assert f"sha256 of the archive: {digest}\n" in get(f"sha256={digest.upper()}")


def test_an_archive_of_another_sha256(fails, kvasir_dataset, place, tmp_path):
    archive = zipped(kvasir_dataset, tmp_path / "a.zip")
    line = fails(f"archive={archive}", f"sha256={'0' * 64}")
    assert f"{archive}: its sha256 is" in line
    assert nothing_left(place)


@pytest.mark.parametrize("below", ["", "Kvasir-SEG/", "more/Kvasir-SEG/"])
def test_folders_around_all_files_are_removed(get, kvasir_dataset, place, tmp_path, below):
    archive = zipped(kvasir_dataset, tmp_path / "a.zip", below)
    get(f"archive={archive}")
    assert files(place) == files(kvasir_dataset)


def test_a_link_is_followed(get, place, kvasir_dataset, tmp_path):
    place.parent.mkdir()
    place.symlink_to(tmp_path / "disk")
    get()
    assert place.is_symlink()
    assert files(tmp_path / "disk") == files(kvasir_dataset)


def test_a_second_command_waits_for_the_first(get, server, place, kvasir_dataset, tmp_path):
    """And finds what the first one has put there."""
    place.parent.mkdir()
    said = []
    with FileLock(place.with_name(".Kvasir-SEG.lock")):
        second = threading.Thread(target=lambda: said.append(get()))
        second.start()
        second.join(0.5)
        assert second.is_alive()
        kvasir_dataset.rename(place)
    second.join()
    assert "is complete: 12 pairs" in said[0]
    assert server.asked == 0


# --- when the connection fails


def test_a_broken_transfer_begins_anew(get, server, place, kvasir_dataset):
    server.statuses, server.cuts = [503], [1000]
    get()
    assert files(place) == files(kvasir_dataset)
    assert server.asked == 3


@pytest.mark.parametrize(
    ("statuses", "cuts", "expected"),
    [
        ([404] * 3, [], "the server answers 404 Not Found; url="),
        ([], [1000] * 3, "no connection ("),
    ],
)
def test_attempts_have_an_end(fails, server, place, statuses, cuts, expected):
    server.statuses, server.cuts = statuses, cuts
    assert f"kvasir-seg.zip: {expected}" in fails()
    assert server.asked == 3
    assert nothing_left(place)


def test_no_network(fails, place):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and no one listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x.zip"
        assert f"{url}: no connection (" in fails(f"url={url}", "attempts=1")
    assert nothing_left(place)


def test_ctrl_c(fails, place, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("polyp.data.download.unpack", interrupt)
    assert "error: interrupted; to start again, repeat the command" in fails()
    assert nothing_left(place)


def test_a_full_disk(fails, place, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("polyp.data.download.shutil.copyfileobj", full)
    assert "No space left on device" in fails()
    assert nothing_left(place)


# --- when something else than the dataset arrives


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\n<!DOCTYPE html><title>Moved</title>", "a web page, not a zip file"),
        (b"Rar!\x1a\x07", "not a zip file, or a damaged one"),
        (b"PK\x03\x04 and no more", "not a zip file, or a damaged one"),
    ],
)
def test_what_is_not_a_zip_file(fails, server, place, content, expected):
    server.content = content
    assert f"{server.url}: not the dataset: {expected}" in fails()
    assert nothing_left(place)


def test_damage_is_found(fails, server, place):
    damaged = bytearray(server.content)
    damaged[len(damaged) // 2] ^= 1
    server.content = bytes(damaged)
    assert "or a damaged one" in fails()
    server.content = server.content[:-100]
    assert "or a damaged one" in fails()
    assert nothing_left(place)


def test_the_wrong_dataset(fails, place, kvasir_dataset, tmp_path):
    archive = zipped(kvasir_dataset, tmp_path / "a.zip")
    assert "12 pairs of image and mask instead of 1000; pairs=12" in fails("pairs=null")
    image = next((kvasir_dataset / "images").iterdir())
    image.write_bytes(image.read_bytes()[:300])
    line = fails(f"archive={zipped(kvasir_dataset, archive)}")
    assert f"{archive}: not the dataset: Kvasir-SEG: a.zip/images/{image.name}" in line
    (kvasir_dataset / "masks").rename(kvasir_dataset / "truth")
    line = fails(f"archive={zipped(kvasir_dataset, archive)}")
    assert "Kvasir-SEG not found: looked for a.zip/images and a.zip/masks" in line
    assert nothing_left(place)


def member(name: str, kind: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = name  # as it is: the constructor would tidy it up
    info.external_attr = (kind | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("evil", "expected"),
    [
        (member("../evil.txt"), "leads out of the folder"),
        (member("Kvasir-SEG/images/../../../evil.txt"), "leads out"),
        (member("/evil.txt"), "leads out"),
        (member("__MACOSX/../../evil.txt"), "leads out"),
        (member("..\\evil.txt"), "leads out"),
        (member("C:evil.txt"), "leads out"),
        (member("images/1.jpg\0.txt"), "leads out"),
        (member("Kvasir-SEG/link", stat.S_IFLNK), "is a link or a device"),
        (member("Kvasir-SEG/pipe", stat.S_IFIFO), "is a link or a device"),
        (member("Kvasir-SEG/images"), "or a damaged one"),  # a folder, in other members
    ],
)
def test_evil_members(fails, place, kvasir_dataset, tmp_path, evil, expected):
    archive = zipped(kvasir_dataset, tmp_path / "a.zip")
    with zipfile.ZipFile(archive, "a") as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name")
        file.writestr(evil, "/etc/passwd")
    before = files(tmp_path)
    line = fails(f"archive={archive}")
    assert expected in line
    assert ("a damaged one" in line) == ("a damaged one" in expected)
    assert files(tmp_path) == before
    assert nothing_left(place)


def test_a_bomb(tmp_path, kvasir_dataset, monkeypatch):
    archive = zipped(kvasir_dataset, tmp_path / "a.zip")
    for limit in ("MAX_MEMBERS", "MAX_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(f"polyp.data.download.{limit}", 3)
            with pytest.raises(UserError, match=r"it would unpack to 27 files of .* are allowed"):
                unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- what is there already


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


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (spoil_with_file, ": is a file"),
        (spoil_with_folder, "exists, but is not Kvasir-SEG"),
        (spoil_with_half, "a.jpg has no mask in"),
    ],
)
def test_anything_else_there_is_left_alone(fails, server, place, spoil, expected):
    spoil(place)
    before = files(place.parent)
    line = fails()
    assert expected in line
    assert "move it, or choose another folder with root=" in line
    assert files(place.parent) == before
    assert not server.asked


# --- CVC-ClinicDB


def test_cvc_is_not_fetched_but_explained(script, options, place, server, capfd):
    with pytest.raises(SystemExit):
        script(*options("data=cvc"))
    said = capfd.readouterr()
    assert f"data=cvc data.root={place}: no dataset at {place}" in said.err
    assert "https://polyp.grand-challenge.org/CVCClinicDB/" in said.out
    assert f"{place}/Original/1.tif" in said.out
    assert f"polyp download data=cvc data.root={place} archive=FILE" in said.out
    assert not server.asked
    assert not place.parent.exists()


def test_cvc_that_is_there_is_checked(get, fails, cvc_dataset):
    assert "25 pairs, all readable" in get("data=cvc", "pairs=25", f"root={cvc_dataset}")
    assert "instead of 612" in fails("data=cvc", "pairs=null", f"root={cvc_dataset}")


@pytest.mark.parametrize("below", ["", "CVC-ClinicDB/PNG/", "PNG/"])
def test_cvc_is_unpacked(get, cvc_dataset, place, tmp_path, below):
    archive = zipped(cvc_dataset, tmp_path / "cvc.zip", below)
    get("data=cvc", "pairs=25", f"archive={archive}")
    assert len(CVCClinicDB(place).samples()) == 25


# --- wrong options


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("data=synthetic", "data=synthetic: cannot be downloaded; choose data=kvasir or data=cvc"),
        ("data=kvasri", "data=kvasri: no such config"),
        ("root=", "root=: must be a path"),
        ("root=null", "root=null: must be a path"),
        ("root=FILE/data/Kvasir-SEG", "is a file, not a folder"),
        ("url=file:///etc/passwd", "must be an address that starts with https://"),
        ("url=http://127.0.0.1:port/x", "not an address"),
        ("url='http://[::1/x'", "not an address"),
        ("url=null", "url=null: must be an address that starts with https://"),
        ("archive=nowhere.zip", "archive=nowhere.zip: no such file"),
        ("archive=FILE", "not a zip file"),
        ("sha256=abc", "sha256=abc: must be 64 hexadecimal digits"),
        ("pairs=0", "pairs=0: must be a whole number from 1"),
        ("attempts=1.5", "attempts=1.5: must be a whole number from 1"),
        ("timeout=inf", "timeout=inf: must be a number above 0 and at most 1000000"),
        ("keep=maybe", "keep=maybe: must be true or false"),
        ("overwrite=true", "overwrite"),
    ],
)
def test_a_wrong_option(fails, server, place, tmp_path, option, expected):
    (tmp_path / "notes.txt").write_text("not an archive")
    assert expected in fails(option.replace("FILE", str(tmp_path / "notes.txt")))
    assert not server.asked
    assert nothing_left(place)


def test_a_kept_archive_is_not_overwritten(fails, server, place):
    place.parent.mkdir()
    kept = place.with_name("Kvasir-SEG.zip")
    kept.write_text("mine")
    assert f"keep=true: {kept} already exists; archive={kept} unpacks it" in fails("keep=true")
    assert kept.read_text() == "mine"
    assert not server.asked
