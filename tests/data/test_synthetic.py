"""The synthetic scenes: reproducible, sensible, and the same in law under rotation."""

import hashlib

import numpy as np
import pytest

from polyp.data.sample import Sample
from polyp.data.synthetic import Synthetic, scene
from polyp.errors import UserError

CLASSES = ["background", "polyp", "instrument"]


@pytest.fixture(scope="module")
def scenes() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [300, 32, 32, 3] and masks uint8 [300, 32, 32]."""
    images, masks = zip(*(scene(0, index, 32) for index in range(300)), strict=True)
    return np.stack(images), np.stack(masks)


@pytest.mark.parametrize("size", [16, 33, 64, 128])
def test_shapes_and_types(size):
    image, mask = scene(0, 0, size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert mask.shape == (size, size)
    assert mask.dtype == np.uint8
    assert image.std() > 20  # neither black nor flat


def test_the_scenes_are_the_known_ones():
    """A change of the generator is noticed: if it is meant, raise VERSION and renew the sum."""
    image, mask = scene(0, 0, 64)
    digest = hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest()
    assert Synthetic(3, 64, 0).fingerprint() == "synthetic-v1 images=3 size=64 seed=0"
    assert digest[:16] == "e60d0a488af29dd5"


def test_a_scene_does_not_depend_on_the_others():
    few, many = Synthetic(images=5, size=32, seed=7), Synthetic(images=9, size=32, seed=7)
    backwards = {sample.id: few.read(sample) for sample in reversed(few.samples())}
    for sample in many.samples()[:5]:
        for one, other in zip(backwards[sample.id], many.read(sample), strict=True):
            np.testing.assert_array_equal(one, other)


def test_scenes_and_seeds_differ():
    images = [scene(seed, index, 32)[0] for seed in range(3) for index in range(3)]
    assert len({image.tobytes() for image in images}) == 9


def test_a_scene_is_the_same_at_every_size():
    for index in range(5):
        small, large = scene(0, index, 64), scene(0, index, 128)
        average = large[0].reshape(64, 2, 64, 2, 3).mean((1, 3))
        assert np.abs(average - small[0]).mean() < 6  # grey levels of 255; all but the fine glints
        share = large[1].reshape(64, 2, 64, 2).mean((1, 3))  # of two classes
        assert np.logical_xor(share > 0.5, small[1]).mean() < 0.01


def test_polyps_are_of_sensible_size(scenes):
    area = scenes[1].mean((1, 2))
    assert area.min() >= 0.005
    assert area.max() < 0.6
    assert 0.08 < area.mean() < 0.15


def test_the_colour_alone_does_not_tell_polyps(scenes):
    """No threshold on a colour channel, not even the best one of each scene, finds the polyps."""
    images, masks = scenes[0], scenes[1] > 0
    best = []
    for image, mask in zip(images[:50], masks[:50], strict=True):
        levels = np.arange(0, 256, 8)[:, None, None, None]
        for found in (image[None] > levels, image[None] < levels):
            hits = (found & mask[None, :, :, None]).sum((1, 2))
            best.append((2 * hits / (found.sum((1, 2)) + mask.sum())).max())
    best = np.reshape(best, (50, 2)).max(1)
    assert best.mean() < 0.7


def test_no_direction_is_preferred(scenes):
    """First and second harmonics over the angle, of scenes and of polyps, are 0 on average.

    Each harmonic is a complex number a scene; rotated by 90°, a scene multiplies it by i or −1, so
    it averages out exactly when all rotations of a scene are equally likely. Any preference (light
    from above, folds that run across, upright polyps) leaves a mean of many standard errors.
    """
    images, masks = scenes
    grey = images.mean(3)
    axis = np.arange(32) - 15.5
    z = axis[None, :] + 1j * axis[:, None]
    slope_y, slope_x = np.gradient(grey, axis=(1, 2))
    slope = slope_x + 1j * slope_y

    def over(weight: np.ndarray, field: np.ndarray) -> np.ndarray:
        return (weight * field).sum((1, 2)) / weight.sum((1, 2))

    centred = z - over(masks, z[None])[:, None, None]
    contrast = grey - over(masks, grey)[:, None, None]
    harmonics = {
        "brightness, 1st": over(grey, z),
        "brightness, 2nd": over(grey, z**2),
        "edges, 2nd": over(np.ones_like(grey), slope**2),
        "polyp's place": over(masks, z),
        "polyp's elongation": over(masks, centred**2),
        "polyp's shading, 1st": over(masks, contrast * centred),
        "polyp's shading, 2nd": over(masks, contrast * centred**2),
        "polyp's edges, 2nd": over(masks, slope**2),
    }
    for name, harmonic in harmonics.items():
        for part in (harmonic.real, harmonic.imag):
            error = part.std() / np.sqrt(len(part))
            assert abs(part.mean()) < 4 * error, name


def test_the_dataset_lists_and_reads_its_scenes():
    dataset = Synthetic(images=12, size=16, seed=3)
    samples = dataset.samples()
    assert [sample.id for sample in samples[:2]] == ["scene-0000", "scene-0001"]
    assert len(samples) == 12
    image, mask = dataset.read(Sample(id="scene-0011"))
    expected_image, expected_mask = scene(3, 11, 16)
    np.testing.assert_array_equal(image, expected_image)
    np.testing.assert_array_equal(mask, expected_mask)


def test_the_fingerprint_tells_datasets_apart():
    datasets = [Synthetic(), Synthetic(images=9), Synthetic(size=64), Synthetic(seed=1)]
    datasets.append(Synthetic(labels=CLASSES))
    assert len({dataset.fingerprint() for dataset in datasets}) == 5
    assert Synthetic(labels=CLASSES[:2]).fingerprint() == Synthetic().fingerprint()
    assert Synthetic().fingerprint() == Synthetic().fingerprint()


@pytest.mark.parametrize(
    ("key", "value"),
    [("images", 2), ("images", 3.5), ("images", True), ("size", 15), ("size", "64"), ("seed", -1)],
)
def test_wrong_arguments_name_the_key_and_the_value(key, value):
    with pytest.raises(UserError) as error:
        Synthetic(**{key: value})
    message = str(error.value)
    assert f"data.dataset.{key}" in message
    assert repr(value) in message
    assert "\n" not in message


# --- three classes


def test_instruments_lie_over_the_same_scenes():
    dataset = Synthetic(images=40, size=32, labels=CLASSES)
    assert dataset.num_classes == 3
    shares = []
    for index, sample in enumerate(dataset.samples()):
        image, mask = dataset.read(sample)
        plain_image, plain_mask = scene(0, index, 32)
        assert set(np.unique(mask)) <= {0, 1, 2}
        np.testing.assert_array_equal(mask[mask < 2], plain_mask[mask < 2])
        change = np.abs(image.astype(int) - plain_image).max(2)
        if (mask == 2).any():
            assert change[mask == 2].mean() > 20
        else:
            np.testing.assert_array_equal(image, plain_image)
        shares.append((mask == 2).mean())
    assert 20 <= np.count_nonzero(shares) <= 34
    assert 0.03 < np.mean(shares) < 0.15


def test_instruments_come_from_all_sides():
    z = (np.arange(16) - 7.5)[None, :] + 1j * (np.arange(16) - 7.5)[:, None]
    rods = [scene(0, index, 16, instruments=True)[1] == 2 for index in range(200)]
    for power in (1, 2):
        harmonic = np.array([(z**power)[rod].mean() for rod in rods if rod.any()])
        for part in (harmonic.real, harmonic.imag):
            assert abs(part.mean()) < 4 * part.std() / np.sqrt(len(part))


def test_synthetic_scenes_have_three_classes_at_most():
    with pytest.raises(UserError, match=r"data\.dataset\.labels=.*three classes at most"):
        Synthetic(labels=[*CLASSES, "tool"])
