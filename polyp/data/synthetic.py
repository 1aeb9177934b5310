"""The embedded dataset: generated colonoscopy-like scenes, so that training runs without any data.

A scene is written in continuous coordinates, x and y from −1 to 1 over the frame, so that it is the
same scene at every size, only sampled more finely. Nothing in it prefers a direction: textures are
isotropic, and positions, outlines and the light are drawn uniformly over all angles. The
orientation of a polyp therefore carries no information, as an equivariant network assumes.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from polyp.data.datasets import Dataset
from polyp.data.labels import Labels
from polyp.data.sample import Sample
from polyp.errors import UserError

VERSION = 1  # of the scenes: increase it when `scene` changes, and caches are renewed
CAMERA = 1.6  # distance of the scope from the mucosa, in half frames


class Synthetic(Dataset):
    """The dataset: `images` scenes of `size`×`size` pixels; other seeds give other scenes.

    With three classes, as `labels=[background, polyp, instrument]`, the same scenes have
    instruments in front.
    """

    name = "synthetic"

    def __init__(
        self,
        images: int = 240,
        size: int = 128,
        seed: int = 0,
        labels: Sequence[str] | Mapping[str, int | Sequence[int]] | None = None,
    ):
        for key, value, least in [("images", images, 3), ("size", size, 16), ("seed", seed, 0)]:
            if type(value) is not int or value < least:
                key = f"data.dataset.{key}"
                raise UserError(f"{key}={value!r}: must be an integer of at least {least}")
        self.images, self.size, self.seed = images, size, seed
        names = ["background", "polyp"] if labels is None else Labels(labels).names
        self.num_classes = len(names)
        if self.num_classes > 3:
            raise UserError(
                f"data.dataset.labels={names}: synthetic scenes have three classes at most: "
                "background, polyp and instrument"
            )

    def samples(self) -> list[Sample]:
        """One sample per scene, in their order; nothing is drawn before `read`."""
        return [Sample(id=f"scene-{index:04d}") for index in range(self.images)]

    def read(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 [size, size, 3] and mask uint8 [size, size] of a sample."""
        index = int(sample.id.removeprefix("scene-"))
        return scene(self.seed, index, self.size, instruments=self.num_classes == 3)

    def digests(self, sample: Sample, image: np.ndarray, mask: np.ndarray) -> tuple[str, str]:
        """Digests of the scene, which are the same at every size."""
        name = f"synthetic-v{VERSION} seed={self.seed} {sample.id}"
        scene = name if self.num_classes < 3 else f"{name} with instruments"
        return scene, scene

    def fingerprint(self) -> str:
        """Names the content: equal fingerprints, equal scenes."""
        name = f"synthetic-v{VERSION} images={self.images} size={self.size} seed={self.seed}"
        return name if self.num_classes == 2 else f"{name} classes={self.num_classes}"


def scene(
    seed: int, index: int, size: int, instruments: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Scene `index` of `seed`: image uint8 [size, size, 3] and mask uint8 [size, size].

    The mask is 0 for the background, 1 for polyps, 2 for instruments. A pure function of its
    arguments: no scene depends on which others were drawn before it.
    """
    rng = np.random.default_rng([seed, index])
    axis = (np.arange(size) + 0.5) * (2 / size) - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")

    bump, height = _polyps(rng, x, y)
    rho = _distance_to_lumen(rng, x, y)
    dark = rng.uniform(0.7, 0.95) * np.exp(-((rho / rng.uniform(0.25, 0.5)) ** 2))
    lit = 1 - dark * (1 - 0.8 * bump)  # polyps stand out of the dark lumen, towards the lamp
    height += lit * (1 - bump) * _folds(rng, rho, axis)
    height += (0.008 + 0.008 * bump) * _noise(rng, axis, 0.12) + 0.002 * _noise(rng, axis, 0.04)

    diffuse, glint = _light(rng, x, y, height)
    crease = 9.5 * bump * (1 - bump) ** 3  # up to 1, at the foot of a bump: light hardly gets there
    diffuse *= lit * (1 - rng.uniform(0, 0.25) * crease)
    exposure = rng.uniform(1.5, 2.2)
    image = 1 - np.exp(-exposure * diffuse[..., None] * _albedo(rng, axis, bump))  # stays below 1
    image += (lit * glint)[..., None] * (1 - image)
    mask = (bump > 0.5).astype(np.uint8)
    if instruments:
        # Of its own randomness: the scene behind it is the one without instruments.
        steel, cover = _instrument(np.random.default_rng([seed, index, 1]), x, y)
        image += cover[..., None] * (steel - image)
        mask[cover > 0.5] = 2

    rim = rng.uniform(1.15, 1.7)  # radius of the scope's round view: the corners are dark below √2
    view = 1 / (1 + np.exp((np.hypot(x, y) - rim) / 0.015))
    image = image * view[..., None] + rng.normal(0, 0.008, image.shape)  # the sensor's noise
    mask[view <= 0.5] = 0
    return np.rint(255 * image.clip(0, 1)).astype(np.uint8), mask


def _noise(rng: np.random.Generator, axis: np.ndarray, scale: float) -> np.ndarray:
    """Smooth random field [size, size], mean 0, variance 1, correlated over lengths of `scale`.

    White noise on a grid, blurred. The grid is as fine as the blur, so that it shows by less than
    1e-3 of the variance: the field is isotropic. The sums are kept from the BLAS, whose threads
    make so small a product up to ten times slower where processes compete for the cores.
    """
    blur = scale / np.sqrt(2)
    points = int(1 / blur) + 5  # on either side of 0, beyond the frame as far as the blur reaches
    grid = blur * np.arange(-points, points + 1)
    weight = np.exp(-(((axis[:, None] - grid) / blur) ** 2) / 2)  # [size, grid]
    white = rng.normal(0, 1 / np.sqrt(np.pi), (len(grid), len(grid)))  # Σ weight² = √π along a row
    rows = np.einsum("ig,hg->ih", weight, white)
    return np.einsum("ih,jh->ij", rows, weight)


def _in_disc(rng: np.random.Generator, radius: float) -> np.ndarray:
    """A point (x, y), uniform in the disc of that radius."""
    angle = rng.uniform(0, 2 * np.pi)
    return radius * np.sqrt(rng.uniform()) * np.array([np.cos(angle), np.sin(angle)])


def _polyps(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """One to three bumps: their profile, from 0 to 1, and their height in half frames.

    A polyp is where the profile exceeds 1/2: its edge is soft, and lies half-way up the slope.
    """
    bump, height = np.zeros_like(x), np.zeros_like(x)
    for _ in range(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1])):
        centre_x, centre_y = _in_disc(rng, 0.7)
        radius = rng.uniform(0.18, 0.5)
        angle = np.arctan2(y - centre_y, x - centre_x)
        outline = sum(
            rng.normal(0, 0.5 / order**2) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
            for order in range(2, 7)
        )
        relative = np.hypot(x - centre_x, y - centre_y) / (radius * np.exp(outline))
        profile = 0.5 ** (relative ** rng.uniform(2.5, 5))  # 1/2 where relative is 1
        height += rng.uniform(0.3, 0.8) * radius * profile * (1 - bump)  # behind those before it
        bump = 1 - (1 - bump) * (1 - profile)
    return bump, height


def _instrument(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """A steel rod from its tip out of the frame, in two scenes of three.

    Its colour [size, size, 3], and how much of each pixel [size, size] it covers.
    """
    tip_x, tip_y = _in_disc(rng, 0.7)
    angle, width = rng.uniform(0, 2 * np.pi), rng.uniform(0.07, 0.15)  # half of its width
    along = (x - tip_x) * np.cos(angle) + (y - tip_y) * np.sin(angle)
    across = ((y - tip_y) * np.cos(angle) - (x - tip_x) * np.sin(angle)) / width
    edge = 0.01 / width
    side = 1 / (1 + np.exp(((np.abs(across) - 1) / edge).clip(-50, 50)))
    cover = side / (1 + np.exp((-along / 0.01).clip(-50, 50)))
    cover = cover * (rng.uniform() < 2 / 3)
    round_off = np.sqrt((1 - across**2).clip(0.05))  # a cylinder: bright in the middle
    coil = 1 + 0.12 * np.sin(2 * np.pi * along / rng.uniform(0.06, 0.12))
    glint = np.exp(-(((across - rng.uniform(-0.5, 0.5)) / 0.15) ** 2))
    grey = rng.uniform(0.35, 0.6) * round_off * coil + 0.3 * glint
    return grey.clip(0, 1)[..., None] * np.array([0.92, 0.97, 1.0]), cover


def _distance_to_lumen(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance [size, size] to the dark middle of the gut, in or beside the frame; warped."""
    centre_x, centre_y = _in_disc(rng, 1.6)
    warp = 0.12 * _noise(rng, x[0], 0.5)
    return np.hypot(x - centre_x, y - centre_y) * np.exp(warp) + 0.02


def _folds(rng: np.random.Generator, rho: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Height of the folds: arcs around the lumen, closer together the deeper they lie."""
    ring = np.log(rho) / np.log(rng.uniform(1.5, 2.0)) + rng.uniform()
    crest = np.exp(-(((ring - np.rint(ring)) / 0.2) ** 2))
    partial = np.clip(0.5 + 0.7 * _noise(rng, axis, 0.5), 0, 1)  # no fold runs all the way round
    return rng.uniform(0.03, 0.12) * rho * crest * partial


def _light(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, height: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Diffuse and mirrored light [size, size] of a lamp beside the scope's lens, on any side."""
    lamp_x, lamp_y = _in_disc(rng, 0.6)
    slope_y, slope_x = np.gradient(height, 2 / len(height))
    normal = _unit(-slope_x, -slope_y, np.ones_like(x))
    to_lamp = np.stack([lamp_x - x, lamp_y - y, CAMERA - height])
    to_camera = np.stack([-x, -y, CAMERA - height])
    fall_off = CAMERA**2 / (to_lamp**2).sum(0)
    to_lamp = _unit(*to_lamp)
    half_way = _unit(*(to_lamp + _unit(*to_camera)))
    diffuse = 0.15 + 0.85 * (normal * to_lamp).sum(0).clip(0)
    mirrored = (normal * half_way).sum(0).clip(0) ** 250
    return diffuse * fall_off, 1 - np.exp(-2.5 * mirrored)


def _unit(*vector: np.ndarray) -> np.ndarray:
    """The vector field [3, size, size], normalised."""
    vector = np.stack(vector)
    return vector / np.sqrt((vector**2).sum(0))


def _albedo(rng: np.random.Generator, axis: np.ndarray, bump: np.ndarray) -> np.ndarray:
    """Colour [size, size, 3] of the mucosa: pink, blotched, veined; of polyps: barely different."""
    base = np.array([0.80, 0.38, 0.30]) * rng.normal(1, [0.05, 0.1, 0.1])
    blotches = 0.6 * _noise(rng, axis, 0.4) + 0.3 * _noise(rng, axis, 0.12)
    fine = _noise(rng, axis, 0.035)
    vein = np.exp(-((_noise(rng, axis, 0.22) / 0.09) ** 2)) * np.clip(_noise(rng, axis, 0.4), 0, 1)
    vein = vein * (1 - bump)  # a polyp's surface hides the vessels below it
    tint = rng.normal(0, 0.15)
    redness = 0.12 * blotches + 0.05 * fine + 0.4 * vein + tint * bump
    return base * np.exp(-redness[..., None] * np.array([0.3, 1.0, 1.0]))
