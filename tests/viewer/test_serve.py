"""`polyp serve`: own images get the page that `polyp view` makes, and mistakes are reported."""

import asyncio
import base64
import io
import re
import shutil
import socket
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from polyp.runs.folder import RunFolder
from polyp.tasks import Multiclass
from polyp.viewer import serve, uploads
from polyp.viewer.app import make_app
from polyp.viewer.networks import Geometry, open_network, shared_geometry
from polyp.viewer.uploads import Upload, prepare_uploads
from polyp.viewer.view import TRUTH
from tests.viewer.test_view import unpacked


@pytest.fixture(scope="module")
def networks(two_runs):
    return [open_network(RunFolder(run), "cpu") for run in two_runs]


@pytest.fixture(scope="module")
def app(networks, two_runs):
    return make_app(networks, shared_geometry([RunFolder(run) for run in two_runs]), 30, 5)


def ask(app, method: str = "GET", path: str = "/", **options) -> httpx.Response:
    """What the application answers."""

    async def request() -> httpx.Response:
        address = options.pop("address", "http://127.0.0.1:8000")
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url=address
        ) as client:
            return await client.request(method, path, **options)

    return asyncio.run(request())


def send(app, *files: tuple[str, str, bytes]) -> httpx.Response:
    """The answer to files, each with its field and name."""
    return ask(app, "POST", files=[(field, (name, content)) for field, name, content in files])


def pair(run: Path, id: str) -> tuple[bytes, bytes]:
    """The files of a test image of `finished_run` and of its mask."""
    root = run.parent / "dataset"
    return tuple((root / kind / f"{id}.png").read_bytes() for kind in ("images", "masks"))


def encoded(pixels: np.ndarray, format: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format, **options)
    return stream.getvalue()


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def fault(answer: httpx.Response) -> str:
    """What a page says was wrong."""
    return re.search(r'role="alert">(.*?)</p>', answer.text, re.DOTALL)[1]


# --- pages


def test_a_test_image_gets_the_page_of_view(app, two_runs, content, content_of):
    expected = content["images"][0]
    image, mask = pair(two_runs[0], expected["id"])
    answer = send(app, ("images", "mine.png", image), ("masks", "any.png", mask))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    served = content_of(answer.text)
    for key in ("angles", "size", "networks"):
        assert served[key] == content[key]
    assert served["images"] == [{**expected, "id": "mine.png", "label": "mine.png"}]
    assert '<a class="back" href="/">' in answer.text


def test_the_page_of_view_leads_nowhere(page):
    assert 'class="back"' not in page.read_text(encoding="utf-8")


def test_without_a_mask_there_is_no_dice(app, two_runs, content, content_of):
    expected = content["images"][0]
    image, _ = pair(two_runs[0], expected["id"])
    (shown,) = content_of(send(app, ("images", "mine.png", image)).text)["images"]
    assert shown["truth"] is False
    assert expected["truth"] is True
    for found, with_mask in zip(shown["found"], expected["found"], strict=True):
        assert found["dice"] == [None] * 12
        assert found["consistency"] == with_mask["consistency"]
        pixels, others = (unpacked(each, content["size"]) for each in (found, with_mask))
        np.testing.assert_array_equal(pixels, others & ~np.uint8(TRUTH))
        assert (others & TRUTH).any()


def test_several_images(app, two_runs, content_of):
    """Each mask goes to the image of its name; images of the same name are told apart."""
    image, _ = pair(two_runs[0], "polyp3")
    other, _ = pair(two_runs[0], "polyp4")
    files = [("images", "a.png", image), ("images", "<b>.PNG", other), ("images", "a.png", other)]
    answer = send(app, *files, ("masks", "<b>.tif", encoded(np.zeros((36, 48), np.uint8), "TIFF")))
    images = content_of(answer.text)["images"]
    assert [each["id"] for each in images] == ["a.png", "<b>.PNG", "a.png (2)"]
    assert [each["truth"] for each in images] == [False, True, False]
    assert images[1]["picture"] == images[2]["picture"] != images[0]["picture"]
    assert "<b>.PNG" not in answer.text  # it is escaped


def test_a_photo_of_a_phone(app, content_of):
    """It says how it must be turned, and a smaller version follows it."""
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[:, :40] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the left column of the file is the top row of the photo
    small = Image.fromarray(pixels[::4, ::4])
    photo = encoded(pixels, "MPO", exif=exif, save_all=True, append_images=[small])
    mask = encoded(np.full((80, 60), 255, np.uint8))
    answer = send(app, ("images", "IMG_1.jpg", photo), ("masks", "mask.png", mask))
    (shown,) = content_of(answer.text)["images"]
    data = base64.b64decode(shown["picture"].removeprefix("data:image/png;base64,"))
    upright = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    assert upright[2:14, 8:24].min() > 240
    assert upright[18:30, 8:24].max() < 15


def test_the_form(app, networks):
    page = ask(app)
    assert page.status_code == 200
    assert page.headers["cache-control"] == "no-store"
    assert 'name="images"' in page.text
    assert 'name="masks"' in page.text
    assert "up to 9 at once and 5 MB together" in page.text
    assert "at 12 angles" in page.text
    assert "Networks: p4 U-Net, p4 U-Net." in page.text
    assert 'role="alert"' not in page.text
    assert page.text.count("http") == 1  # http-equiv: nothing is asked for from elsewhere


def test_nothing_is_written(app, monkeypatch):
    """Forms are otherwise kept in temporary files, from 1 MB on."""

    def refuse(*_, **__):
        raise AssertionError("a file was opened to be written")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", refuse)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    image = encoded(noise(1000, 1000))
    assert len(image) > 2_000_000
    assert send(app, ("images", "a.png", image)).status_code == 200


def test_grey_networks_get_grey_images():
    pixels = noise(32, 32)
    prepared = prepare_uploads([Upload("a.png", encoded(pixels))], [], Geometry(32, "pad", 1))
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    np.testing.assert_array_equal(prepared.images, grey[None, ..., None])
    assert not prepared.masks.any()


def test_images_of_the_same_name_are_told_apart():
    content = encoded(noise(8, 8))
    sent = [Upload(name, content) for name in ("a", "a (2)", "a", "a")]
    samples = prepare_uploads(sent, [], Geometry(8, "pad", 3)).samples
    assert [sample.id for sample in samples] == ["a", "a (2)", "a (3)", "a (4)"]


# --- mistakes

IMAGE = ("images", "a.png", encoded(noise(20, 30)))
GREYS = np.repeat(np.uint8([[0, 80, 100, 120]]), 9, axis=0)


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ([("images", "", b"")], "no image was sent: choose at least one"),
        ([("masks", "m.png", IMAGE[2])], "no image was sent: choose at least one"),
        ([("images", "a.txt", b"no image")], "a.txt: not an image file"),
        ([("images", "a.png", b"")], "a.png: not an image file"),
        ([("images", "a.tif", b"no image")], "a.tif: not a readable TIFF file"),
        ([("images", "a.png", IMAGE[2][:500])], "a.png: cannot be decoded"),
        ([("images", "../<i>.png", b"")], "&lt;i&gt;.png: not an image file"),
        (10 * [IMAGE], "10 images were sent: at most 9 fit a page"),
        (
            [IMAGE, ("masks", "m.png", encoded(np.zeros((30, 20), np.uint8)))],
            "a.png is 30×20 pixels, but its mask m.png is 20×30",
        ),
        ([IMAGE, ("masks", "m.png", encoded(GREYS))], "but polyp is where grey &gt; 127"),
        ([IMAGE, IMAGE, ("masks", "a.png", IMAGE[2])], "a.png: it is not clear which image"),
        (
            [IMAGE, ("images", "b.png", IMAGE[2]), ("masks", "c.png", IMAGE[2])],
            "c.png: it is not clear which image this mask belongs to",
        ),
        ([IMAGE, ("masks", "m.png", b"no image")], "m.png: not an image file"),
    ],
)
def test_wrong_files(app, files, line):
    answer = send(app, *files)
    assert answer.status_code == 400
    assert line in fault(answer)
    assert "data.dataset" not in fault(answer)  # which no page has
    assert 'name="images"' in answer.text  # to try again


def test_too_many_bytes(app):
    answer = send(app, ("images", "a.bin", bytes(6_000_000)))
    assert answer.status_code == 413
    assert fault(answer) == "6.0 MB were sent: at most 5 MB at once"


@pytest.mark.parametrize("side", [9_000, 10_000, 14_000])  # Pillow warns of the second
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_too_many_pixels(app, suffix, side, monkeypatch):
    """Refused before they are decoded."""
    format, options = {"png": ("PNG", {}), "tif": ("TIFF", {"compression": "group4"})}[suffix]
    content = encoded(np.zeros((side, side), bool), format, **options)
    monkeypatch.setattr(uploads, "read_on_black", lambda *_: pytest.fail("it was decoded"))
    answer = send(app, ("images", f"a.{suffix}", content))
    assert answer.status_code == 400
    assert fault(answer) == f"a.{suffix}: too large, more than 80 million pixels"


def test_masks_of_several_classes(networks):
    several = [replace(networks[0], task=Multiclass(["background", "polyp", "tool"]))]
    app = make_app(several, Geometry(32, "pad", 3), 90, 5)
    assert 'name="masks"' not in ask(app).text
    answer = send(app, IMAGE, ("masks", "m.png", IMAGE[2]))
    assert answer.status_code == 400
    assert fault(answer) == "masks can only be compared with networks of a single class"


@pytest.mark.parametrize(
    ("options", "status", "line"),
    [
        ({"method": "POST"}, 400, "no form with files was sent"),
        ({"method": "POST", "data": {"images": "a"}}, 400, "no form with files was sent"),
        (
            {"method": "POST", "headers": {"content-type": "multipart/form-data"}},
            400,
            "the form that was sent is damaged: Missing boundary",
        ),
        ({"path": "/nothing"}, 404, "GET /nothing: Not Found"),
        ({"method": "DELETE"}, 405, "DELETE /: Method Not Allowed"),
    ],
)
def test_wrong_requests(app, options, status, line):
    answer = ask(app, **options)
    assert answer.status_code == status
    assert line in fault(answer)


def test_another_name_of_this_computer(app):
    """Or a page from elsewhere could read what is shown, by a name that leads here."""
    assert ask(app, address="http://localhost:8000").status_code == 200
    assert ask(app, address="http://elsewhere.example:8000").status_code == 400


def test_a_bug_is_no_mistake_of_the_user(app, monkeypatch):
    monkeypatch.setattr("polyp.viewer.app.make_page", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        send(app, IMAGE)


def test_a_browser_that_leaves_before_it_has_sent_everything(app):
    headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""}
    answers = []

    async def receive() -> dict:
        return {"type": "http.disconnect"}

    async def answer(message: dict) -> None:
        answers.append(message)

    asyncio.run(app(scope, receive, answer))  # raises nothing
    assert answers[0]["status"] == 400


def test_the_networks_stop_with_the_server(networks):
    server = SimpleNamespace(should_exit=False)
    network = replace(networks[0], model=torch.nn.Sequential(networks[0].model))
    serve.stop_early([network], server)
    app = make_app([network], Geometry(32, "pad", 3), 90, 5)
    assert send(app, IMAGE).status_code == 200
    server.should_exit = True
    answer = send(app, IMAGE)
    assert answer.status_code == 503
    assert "the server was stopped" in fault(answer)


# --- the command


def test_it_answers(server):
    """And ends without an error: see the fixture."""
    assert httpx.get(server).status_code == 200
    answer = httpx.post(server, files={"images": IMAGE[1:]})
    assert answer.status_code == 200
    assert '"id": "a.png"' in answer.text


def test_only_this_computer_is_listened_to():
    with serve.listen(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"


def test_mistakes_in_options(script_refused, two_runs):
    run = f"run={two_runs[0]}"
    either = "error: give either run=PATH, or runs=[PATH,PATH]"
    assert script_refused("serve") == either
    assert script_refused("serve", run, f"runs={two_runs[1]}") == either
    assert "port=65536: must be a whole number" in script_refused("serve", run, "port=65536")
    assert "step=7: must be 1, 2, 3" in script_refused("serve", run, "step=7")
    assert "max_megabytes=0: must be a number" in script_refused("serve", run, "max_megabytes=0")
    assert "run=nowhere: not a run" in script_refused("serve", "run=nowhere")


def test_a_port_in_use(script_refused, finished_run):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = script_refused("serve", f"run={finished_run}", f"port={port}")
    assert line.startswith(f"error: port={port}: cannot be used (Address already in use); choose")


def test_a_missing_package(script_refused, finished_run, monkeypatch):
    monkeypatch.setitem(serve.PACKAGES, "no_such_module", "no-such-package")
    line = script_refused("serve", f"run={finished_run}")
    assert line == (
        "error: polyp serve needs no-such-package; install with: pip install no-such-package"
    )


def test_networks_that_do_not_see_the_same_picture(script_refused, finished_run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(finished_run, other)
    config = other / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("resize: pad", "resize: crop"))
    line = script_refused("serve", f"runs=[{finished_run},{other}]")
    assert line.endswith("data.resize differs, pad and crop; make a page of each")
