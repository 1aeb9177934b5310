"""The public datasets of polyps: their layouts, and which images belong together."""

import hashlib
import logging
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from polyp.data.datasets import Layout, PairedFolders
from polyp.data.reading import read_image
from polyp.data.sample import Sample
from polyp.errors import UserError

log = logging.getLogger(__name__)


class _Named(PairedFolders):
    """A published dataset of binary masks, in one of its known layouts."""

    title: str

    def __init__(self, root: str | Path):
        layouts = self.layouts
        super().__init__(root, name=self.title)
        self.layouts = layouts


class CVCClinicDB(_Named):
    """CVC-ClinicDB: 612 frames of 384×288 pixels, from 29 sequences of 25 videos.

    J. Bernal et al., WM-DOVA maps for accurate polyp highlighting in colonoscopy: Validation vs.
    saliency maps from physicians, Computerized Medical Imaging and Graphics 43, 2015.

    The folders `Original` and `Ground Truth` lie in `root`, or below it in `PNG` or `TIF`.
    """

    title, expected = "CVC-ClinicDB", 612
    layouts = tuple(
        Layout(f"{below}Original", f"{below}Ground Truth") for below in ("", "PNG/", "TIF/")
    )
    help = (
        "get it from https://polyp.grand-challenge.org/CVCClinicDB/ and lay it out as "
        "CVC-ClinicDB/Original/1.tif and CVC-ClinicDB/Ground Truth/1.tif (PNG works too), below "
        "the folder that POLYP_DATA names, or give its own folder as data.root="
    )

    # The last frame of each sequence, from the table in the dataset's README.
    last_frames = (
        *(25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317),
        *(342, 363, 383, 408, 428, 447, 466, 478, 503, 528, 546, 571, 591, 612),
    )

    def sample(self, id: str, image: Path, mask: Path) -> Sample:
        return Sample(id, image, mask, group=self.sequence(id))

    @classmethod
    def sequence(cls, id: str) -> str | None:
        """The number of a frame's sequence, 1 to 29; None for a file that isn't of the dataset."""
        if not id.isdecimal() or not 1 <= int(id) <= cls.last_frames[-1]:
            return None
        return str(bisect_left(cls.last_frames, int(id)) + 1)


class KvasirSEG(_Named):
    """Kvasir-SEG: 1000 images of 332×352 to 1920×1072 pixels.

    D. Jha et al., Kvasir-SEG: A Segmented Polyp Dataset, MultiMedia Modeling 2020.
    """

    title, expected = "Kvasir-SEG", 1000
    help = (
        "polyp download data=kvasir downloads it; or unpack it from "
        "https://datasets.simula.no/kvasir-seg/ to Kvasir-SEG/images and Kvasir-SEG/masks below "
        "the folder that POLYP_DATA names, or give its own folder as data.root="
    )

    # Near-identical images, found by comparing all pairs.
    near_copies = (
        ("cju76lsehyia10987u54vn8rb", "cju772304yw5t0818vbw8kkjf"),
        ("cju886ryxnsl50801r93jai7q", "cju8amfdtqi4x09871tygrgqe"),
        ("cju30bmab08bi0835mvlr6e0r", "cju77k828z46w0871r0avuoo9"),
    )

    def sample(self, id: str, image: Path, mask: Path) -> Sample:
        twins = [copies for copies in self.near_copies if id in copies]
        return Sample(id, image, mask, twin=twins[0][0] if twins else "")


class CVCColonDB(_Named):
    """CVC-ColonDB: 380 frames of 574×500 pixels, from 15 sequences. An external test set.

    J. Bernal et al., Towards automatic polyp detection with a polyp appearance model, Pattern
    Recognition 45, 2012.

    The original layout is flat: `N.tiff` (`N.tif` for 77 to 97) and its mask `pN.tiff`, with the
    contours `cpN.tiff` beside them; PNG works too, and the folders `images` and `masks` with one
    name for both. Of frames that are bit-identical only the first is used, with its mask: 346 of
    the 380 are distinct. The masks of four pairs of equal frames differ (108 and 139, 183 and 198,
    190 and 203, 276 and 289).

    Args:
        root: the dataset's folder.
        distinct: False uses all frames, copies too, as the test set of the literature does.
    """

    title, external = "CVC-ColonDB", True
    layouts = (Layout(".", ".", prefix="p", id=r"\d+"), Layout())
    help = (
        "ask its authors for it (Bernal et al., 2012) and put 1.tiff and p1.tiff up to 380 (PNG "
        "works too) in CVC-ColonDB below the folder that POLYP_DATA names, or give its own folder "
        "as data.root="
    )

    # The last frame of each sequence and its number, from the table in the dataset's README.
    last_frames = (38, 60, 76, 97, 148, 155, 203, 208, 263, 273, 300, 320, 340, 360, 380)
    sequences = (1, 2, 3, 5, 6, 7, 9, 10, 11, 14, 15, 4, 8, 12, 13)

    def __init__(self, root: str | Path, distinct: bool = True):
        super().__init__(root)
        self.distinct, self.expected = distinct, 346 if distinct else 380
        self._digests: dict[tuple[Path, int, int], str] = {}
        self._reported = False

    def samples(self) -> list[Sample]:
        samples = super().samples()
        if not self.distinct:
            return samples
        with ThreadPoolExecutor() as pool:  # the decoders release the interpreter lock
            digests = list(pool.map(self._digest, samples))
        first = dict(zip(reversed(digests), reversed(samples), strict=True))
        if len(first) < len(samples) and not self._reported:
            self._reported = True
            log.info(
                "%s: %d of %d frames are distinct; bit-identical ones are counted once",
                *(self.name, len(first), len(samples)),
            )
        return sorted(first.values(), key=lambda sample: int(sample.id))

    def _digest(self, sample: Sample) -> str:
        """The digest of a frame's pixels, or of its name if it cannot be read."""
        assert sample.image is not None  # only generated images have no file
        stat = sample.image.stat()
        key = sample.image, stat.st_size, stat.st_mtime_ns
        if key not in self._digests:
            try:
                pixels = read_image(sample.image)
                content = f"{pixels.shape}".encode() + pixels.tobytes()
            except UserError:
                content = str(sample.image).encode()
            self._digests[key] = hashlib.sha256(content).hexdigest()
        return self._digests[key]

    def sample(self, id: str, image: Path, mask: Path) -> Sample:
        return Sample(id, image, mask, group=self.sequence(id))

    @classmethod
    def sequence(cls, id: str) -> str | None:
        """The number of a frame's sequence, 1 to 15; None for a file that isn't of the dataset."""
        if not id.isdecimal() or not 1 <= int(id) <= cls.last_frames[-1]:
            return None
        return str(cls.sequences[bisect_left(cls.last_frames, int(id))])


class ETISLarib(_Named):
    """ETIS-LaribPolypDB: 196 frames of 1225×966 pixels, from 34 sequences. An external test set.

    J. Silva et al., Toward embedded detection of polyps in WCE images for early diagnosis of
    colorectal cancer, International Journal of Computer Assisted Radiology and Surgery 9, 2014.

    It occurs as `ETIS-LaribPolypDB/N.tif` and `Ground Truth/pN.tif`, also with masks `N.tif`, and
    as `images/N.png` and `masks/N.png`. This could not be checked on the dataset itself. Which
    frames belong to one sequence is not known here, so its frames have no group.
    """

    title, expected, external = "ETIS-LaribPolypDB", 196, True
    layouts = (
        Layout(),
        *(Layout("ETIS-LaribPolypDB", "Ground Truth", p, id=r"\d+") for p in ("p", "")),
    )
    help = (
        "get it from https://polyp.grand-challenge.org/EtisLarib/ and lay it out as "
        "ETIS-LaribPolypDB/images/1.png and masks/1.png, or as the folders ETIS-LaribPolypDB/1.tif "
        "and Ground Truth/p1.tif, below ETIS-LaribPolypDB in the folder that POLYP_DATA names, or "
        "give its own folder as data.root="
    )


class PolypGen(_Named):
    """PolypGen 2021, single frames: 1537 images of six centres.

    S. Ali et al., A multi-centre polyp detection and segmentation dataset for generalisability
    assessment, Scientific Data 10, 2023.

    The layout is that of the release `PolypGen2021_MultiCenterData_v3`: `data_C1/images_C1/N.jpg`
    and `data_C1/masks_C1/N_mask.jpg`, to C6. It is known from programs that read it, and could not
    be checked on the dataset itself. One image, `C3_EndoCV2021_00489_.jpg`, has an underscore more
    than its mask; underscores at the end don't count. An id is the centre and the file's name, as
    "C1/N"; the group is the centre, as file names do not name the patient. Its video sequences
    (`sequenceData`) are not read.
    """

    title, expected = "PolypGen", 1537
    help = (
        "get it from https://doi.org/10.7303/syn26376615 and unpack it to PolypGen/data_C1 to "
        "data_C6 below the folder that POLYP_DATA names, or give its own folder as data.root="
    )

    def parts(self) -> dict[str, Layout]:
        for below in ("", "PolypGen2021_MultiCenterData_v3/"):
            folders = sorted((self.root / below).glob("data_C[0-9]"))
            centres = [folder.name.removeprefix("data_") for folder in folders]
            if centres:
                return {f"{centre}/": self._layout(below, centre) for centre in centres}
        raise self.not_found(f"{self.root / 'data_C1'} with images_C1 and masks_C1")

    def _layout(self, below: str, centre: str) -> Layout:
        folders = (f"{below}data_{centre}/{kind}_{centre}" for kind in ("images", "masks"))
        layout = Layout(*folders, suffix="_mask", id=".+?", tail="_*")
        if missing := [f for f in layout.folders(self.root) if not f.is_dir()]:
            raise self.not_found(str(missing[0]))
        return layout

    def sample(self, id: str, image: Path, mask: Path) -> Sample:
        return Sample(id, image, mask, group=id.split("/")[0])
