"""The server's pages: a form to choose images, and what the networks find in them."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import PurePath
from threading import Lock

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from torch.utils.data import DataLoader

from polyp.data.module import PolypDataset
from polyp.data.reading import SUFFIXES
from polyp.errors import UserError
from polyp.tasks import Binary
from polyp.viewer.networks import Geometry, Network
from polyp.viewer.uploads import MAX_IMAGES, Upload, prepare_uploads
from polyp.viewer.view import make_page, render

# The names of this computer. Other names are refused: another site could make its name point here.
HOSTS = ["127.0.0.1", "localhost"]
NOT_STORED = {"Cache-Control": "no-store"}  # the browser does not keep the images either


def make_app(
    networks: Sequence[Network], geometry: Geometry, step: int, max_megabytes: float
) -> Starlette:
    """The application.

    Args:
        networks: at most as many as there are COLOURS.
        geometry: of their images, of 1 or 3 channels.
        step: degrees between two angles.
        max_megabytes: of a request; 1 MB is 1,000,000 bytes.
    """
    pages = _Pages(networks, geometry, step, max_megabytes)
    return Starlette(
        routes=[Route("/", pages.form), Route("/", pages.answer, methods=["POST"])],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)],
        exception_handlers={
            UserError: pages.refuse,
            HTTPException: pages.refuse,
            ClientDisconnect: _gone,
        },
    )


class TooLarge(UserError):
    """More bytes were sent than is allowed."""


class _Pages:
    """Arguments: see `make_app`."""

    def __init__(
        self, networks: Sequence[Network], geometry: Geometry, step: int, max_megabytes: float
    ):
        self.networks, self.geometry = list(networks), geometry
        self.step, self.max_megabytes = step, max_megabytes
        # A mask is black and white, so it does not say which of several classes a pixel has.
        self.takes_masks = all(isinstance(network.task, Binary) for network in networks)
        self.lock = Lock()  # the networks answer one request after the other

    async def form(self, request: Request) -> Response:
        """The page to choose images on."""
        return self._form()

    async def answer(self, request: Request) -> Response:
        """The page of the images that were sent."""
        images, masks = await _receive(request, self.max_megabytes)
        page = await run_in_threadpool(self._page, images, masks)
        return HTMLResponse(page, headers=NOT_STORED)

    async def refuse(self, request: Request, error: Exception) -> Response:
        """The page to choose images on, with what was wrong before."""
        if isinstance(error, HTTPException):
            asked = f"{request.method} {request.url.path}"
            return self._form(f"{asked}: {error.detail}", error.status_code)
        return self._form(str(error), 413 if isinstance(error, TooLarge) else 400)

    def _form(self, fault: str | None = None, status: int = 200) -> Response:
        page = render(
            "upload.html",
            fault=fault,
            networks=[network.name for network in self.networks],
            angles=360 // self.step,
            takes_masks=self.takes_masks,
            max_images=MAX_IMAGES,
            max_megabytes=f"{self.max_megabytes:g}",
            accept=",".join(sorted(SUFFIXES)),
        )
        return HTMLResponse(page, status, headers=NOT_STORED)

    def _page(self, images: Sequence[Upload], masks: Sequence[Upload]) -> str:
        if masks and not self.takes_masks:
            raise UserError("masks can only be compared with networks of a single class")
        with self.lock:
            prepared = prepare_uploads(images, masks, self.geometry)
            samples = prepared.samples
            batches = DataLoader(PolypDataset(prepared, list(range(len(samples)))))
            return make_page(
                self.networks,
                batches,
                {sample.id: sample.id for sample in samples},
                "own images",
                self.step,
                without_mask={sample.id for sample in samples if sample.mask is None},
                back="/",
            )


async def _gone(request: Request, error: Exception) -> Response:
    """The browser has left before it had sent everything; nobody reads the answer."""
    return Response(status_code=400)


class _InMemory(MultiPartParser):
    """Writes no temporary files."""

    spool_max_size = 0  # no limit, see tempfile.SpooledTemporaryFile


async def _receive(request: Request, max_megabytes: float) -> tuple[list[Upload], list[Upload]]:
    """The images and the masks of the form that was sent.

    Raises:
        UserError: it is damaged, or larger than allowed.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise UserError("no form with files was sent (multipart/form-data)")
    stream = _limited(request.stream(), max_megabytes)
    try:
        form = await _InMemory(request.headers, stream).parse()
    except MultiPartException as error:
        raise UserError(f"the form that was sent is damaged: {error.message}") from error
    try:
        return await _files(form, "images"), await _files(form, "masks")
    finally:
        await form.close()


async def _limited(
    stream: AsyncGenerator[bytes, None], max_megabytes: float
) -> AsyncGenerator[bytes, None]:
    """The stream. If it is too large, the rest is read but not kept, because a browser shows the
    answer only after it has sent everything."""
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size <= 1_000_000 * max_megabytes:
            yield chunk
    if size > 1_000_000 * max_megabytes:
        raise TooLarge(f"{size / 1_000_000:.1f} MB were sent: at most {max_megabytes:g} MB at once")


async def _files(form: FormData, field: str) -> list[Upload]:
    """The files of a field; a field that was left empty comes as a file without a name."""
    files = [file for file in form.getlist(field) if isinstance(file, UploadFile) and file.filename]
    return [Upload(PurePath(str(file.filename)).name, await file.read()) for file in files]
