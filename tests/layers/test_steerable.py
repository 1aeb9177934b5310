import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.linalg import null_space
from torch import nn

from polyp.errors import UserError
from polyp.layers import P4Layers, SteerableLayers
from polyp.layers.rotation_error import rotation_error
from polyp.models import UNet
from tests.layers.definition import index_of, rotations
from tests.layers.family_tester import FIELDS, FamilyTester, act_on_plane, float64
from tests.models.model_tester import CONFIGS, ModelTester


def e2cnn_conv(family: SteerableLayers, lifting: bool, in_fields: int, fields: int, kernel_size):
    """e2cnn's own convolution between the fields of the family."""
    from e2cnn import group, gspaces
    from e2cnn import nn as e2nn

    if family.continuous:
        space = gspaces.Rot2dOnR2(-1, maximum_frequency=family.max_frequency)
        irreps = [space.irrep(k) for k in range(family.max_frequency + 1)]
        field = group.directsum(irreps, name="test")
    else:
        space = gspaces.Rot2dOnR2(family.order)
        field = space.regular_repr
    source = space.trivial_repr if lifting else field
    in_type = e2nn.FieldType(space, [source] * in_fields)
    out_type = e2nn.FieldType(space, [field] * fields)
    conv = e2nn.R2Conv(
        in_type,
        out_type,
        kernel_size,
        padding=kernel_size // 2,
        bias=False,
        initialize=False,
        recompute=True,  # its cache calls ndarray.tostring, which numpy deprecates
    )
    return conv, lambda x: conv(e2nn.GeometricTensor(x, in_type)).tensor


@pytest.mark.filterwarnings("ignore:indexing with dtype torch.uint8")  # in e2cnn's R2Conv
class SteerableTester(FamilyTester):
    """The definition of these convolutions is e2cnn's."""

    def both(self, name, kernel_size=3):
        """Our convolution and e2cnn's, 3 fields to 2."""
        torch.manual_seed(0)
        family = self.make(kernel_size)
        ours = getattr(family, name)(3, 2)
        theirs, apply = e2cnn_conv(family, name == "lift", 3, 2, kernel_size)
        return ours, theirs, apply

    @pytest.mark.parametrize("name", ["lift", "conv"])
    @pytest.mark.parametrize("kernel_size", [3, 5, 7])  # in torch 2.13 e2cnn's own fails at 1
    def test_equals_definition(self, name, kernel_size):
        ours, theirs, apply = self.both(name, kernel_size)
        theirs.weights.data.copy_(ours.weight.detach().flatten())
        x = torch.randn(2, theirs.in_type.size, 9, 10)
        torch.testing.assert_close(ours(x), apply(x), atol=1e-5, rtol=0)

    @pytest.mark.parametrize("name", ["lift", "conv"])
    @pytest.mark.parametrize("kernel_size", [3, 5])
    def test_initial_variance_is_that_of_e2cnn(self, name, kernel_size):
        from e2cnn.nn.init import _generalized_he_init_variances

        ours, theirs, _ = self.both(name, kernel_size)
        expected = _generalized_he_init_variances(theirs.basisexpansion)  # deviations, in fact
        std = getattr(self.make(kernel_size), f"{name}_basis").std / 3**0.5
        torch.testing.assert_close(std.expand(ours.weight.shape).flatten(), expected)

    @pytest.mark.parametrize("name", ["lift", "conv"])
    def test_initial_weights_have_that_variance(self, name):
        torch.manual_seed(0)
        family = self.make()
        weight = getattr(family, name)(40, 50).weight
        expected = getattr(family, f"{name}_basis").std / 40**0.5
        torch.testing.assert_close(weight.std(dim=(0, 1)), expected, rtol=0.1, atol=0)
        assert weight.mean(dim=(0, 1)).abs().max() < 0.1 * expected.max()

    def test_kernel_weights_have_the_scale_of_he_initialisation(self):
        """e2cnn's initialisation keeps the variance without a nonlinearity."""
        assert_scale_is_kept(self.make(5))


def assert_scale_is_kept(family: SteerableLayers) -> None:
    """A convolution of white noise has about its variance."""
    torch.manual_seed(0)
    x = torch.randn(2, 16 * family.order, 24, 24)
    y = family.conv(16, 16)(x)[:, :, 4:-4, 4:-4]
    assert 0.5 < y.square().mean() < 2


class TestSteerableC4(SteerableTester):
    group = rotations(4)

    def make(self, kernel_size=3):
        return SteerableLayers(kernel_size, rotations=4)

    @pytest.mark.parametrize("name", ["lift", "conv"])
    @pytest.mark.parametrize("kernel_size", [1, 3, 5])
    def test_is_a_p4_convolution(self, name, kernel_size):
        """The kernel is the one that p4 makes of its part for the first output orientation."""
        torch.manual_seed(0)
        ours = getattr(self.make(kernel_size), name)(3, 2)
        p4 = getattr(P4Layers(kernel_size), name)(3, 2)
        kernel = ours.kernel().detach()
        with torch.no_grad():
            p4.weight.copy_(kernel.unflatten(0, (2, 4))[:, 0].reshape(p4.weight.shape))
        torch.testing.assert_close(p4.kernel().detach(), kernel, atol=1e-6, rtol=0)


class TestSteerableC12(SteerableTester):
    group = rotations(12)

    def make(self, kernel_size=3):
        return SteerableLayers(kernel_size, rotations=12)


class TestSteerableSO2(SteerableTester):
    group = rotations(4)  # those that take pixels to pixels

    def make(self, kernel_size=3):
        return SteerableLayers(kernel_size, rotations="continuous", max_frequency=3)

    def act(self, element, x, order):
        """Vectors of frequency k turn k times as far as the plane."""
        if order > 1:
            angle = np.arctan2(element[1, 0], element[0, 0])
            blocks = [torch.ones(1, 1, dtype=x.dtype)]
            for k in range(1, order // 2 + 1):
                cos, sin = np.cos(k * angle), np.sin(k * angle)
                blocks.append(torch.tensor([[cos, -sin], [sin, cos]], dtype=x.dtype))
            matrix = torch.block_diag(*blocks)
            x = torch.einsum("ij,bcjhw->bcihw", matrix, x.unflatten(1, (-1, order))).flatten(1, 2)
        return act_on_plane(element, x)

    def test_norm_shares_statistics_and_parameters(self):
        """Scalars as in BatchNorm; vectors to mean square 1, with their mean left."""
        torch.manual_seed(0)
        family = self.make()
        norm = family.norm(FIELDS)
        x = 3 * torch.randn(4, FIELDS, family.order, 8, 8) + 2
        y = norm(x.flatten(1, 2)).unflatten(1, (FIELDS, -1))
        scalars = nn.functional.batch_norm(x[:, :, 0], None, None, training=True)
        torch.testing.assert_close(y[:, :, 0], scalars)
        vectors = y[:, :, 1:].unflatten(2, (-1, 2))
        power = vectors.square().mean(dim=(0, 3, 4, 5))
        torch.testing.assert_close(power, torch.ones_like(power), atol=1e-4, rtol=0)
        torch.testing.assert_close(
            nn.functional.cosine_similarity(vectors, x[:, :, 1:].unflatten(2, (-1, 2)), dim=3),
            torch.ones(4, FIELDS, 3, 8, 8),
        )

    def test_norm_uses_running_statistics_in_evaluation(self):
        torch.manual_seed(0)
        norm = self.make().norm(FIELDS)
        norm.momentum = 1.0
        x = 3 * torch.randn(4, FIELDS * 7, 8, 8) + 2
        torch.testing.assert_close(norm(x), norm.eval()(x))

    def test_project_takes_lengths(self):
        family = self.make()
        x = torch.zeros(1, 2 * family.order, 1, 1)
        x[0, 1:3, 0, 0] = torch.tensor([3.0, 4.0])
        x[0, 7, 0, 0] = -2
        assert family.project(2)(x).flatten().tolist() == [5, 2]


def constrained_kernels(group: list[np.ndarray], in_order: int, size: int) -> torch.Tensor:
    """All equivariant kernels of the default band limit, [kernels, |G|, in_order, size²].

    Coefficients c[a, b, f] of κ(v)[a, b] = Σ_f c[a, b, f] f(v) that solve κ(g·v)[g·a, g·b] =
    κ(v)[a, b], Weiler & Cesa (2019) eq. 2 for permutations, at many points v: a null space.
    """
    mirror = np.diag([1.0, -1.0])

    def functions(points: np.ndarray) -> np.ndarray:  # [points, 2] → [points, functions]
        radius, angle = np.linalg.norm(points, axis=1), np.arctan2(points[:, 0], points[:, 1])
        values = [np.exp(-((radius / 0.005) ** 2) / 2)]
        for ring, width in ((1, 0.6), (2, 0.4)):
            bell = np.exp(-(((radius - ring) / width) ** 2) / 2)
            away = bell * (radius > 1e-9)
            values.append(bell)
            for k in (1, 2):
                values += [away * np.cos(k * angle), away * np.sin(k * angle)]
        return np.stack(values, axis=1)

    order = len(group)
    points = np.random.default_rng(0).uniform(-2.5, 2.5, (20, 2))
    points[0] = 0
    here = functions(points)
    equations = []
    for g in (group[1], mirror):  # they generate the group
        there = functions(points @ g.T)
        for a, b in np.ndindex(order, in_order):
            rows = np.zeros((len(points), order, in_order, here.shape[1]))
            moved = index_of(g @ group[b], group) if in_order > 1 else 0
            rows[:, index_of(g @ group[a], group), moved] += there
            rows[:, a, b] -= here
            equations.append(rows.reshape(len(points), -1))
    solutions = null_space(np.concatenate(equations), rcond=1e-9)
    pixels = np.array(list(np.ndindex(size, size))) - size // 2
    coefficients = solutions.T.reshape(-1, order, in_order, here.shape[1])
    return torch.from_numpy(coefficients @ functions(pixels).T)


def rank(*kernels: torch.Tensor) -> int:
    return int(torch.linalg.matrix_rank(torch.cat([k.flatten(1) for k in kernels]), rtol=1e-8))


class TestSteerableD4(FamilyTester):
    group = rotations(4) + [turn @ np.diag([1, -1]) for turn in rotations(4)]

    def make(self, kernel_size=3):
        return SteerableLayers(kernel_size, rotations=4, reflections=True)

    @pytest.mark.filterwarnings("ignore:rotations=3")
    @pytest.mark.parametrize(("name", "count"), [("lift", 12), ("conv", 4), ("conv", 3)])
    def test_equals_definition(self, name, count):
        """The filters span the null space of the kernel constraint, and nothing else."""
        group = [turn @ flip for flip in (np.eye(2), np.diag([1, -1])) for turn in rotations(count)]
        with float64():
            family = SteerableLayers(5, rotations=count, reflections=True)
        filters = getattr(family, f"{name}_basis").filters
        in_order = 1 if name == "lift" else 2 * count
        expected = constrained_kernels(group, in_order, 5)
        assert len(filters) == len(expected) == 11 * in_order == rank(expected)
        assert rank(filters) == rank(filters.flatten(3), expected) == 11 * in_order

    @pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) >= "2.0.0", reason="e2cnn: NumPy < 2")
    @pytest.mark.parametrize("name", ["lift", "conv"])
    @pytest.mark.parametrize("count", [4, 8])
    def test_filters_span_what_those_of_e2cnn_span(self, name, count):
        from e2cnn import gspaces
        from e2cnn.nn.modules.r2_conv.r2convolution import compute_basis_params

        with float64():
            family = SteerableLayers(5, rotations=count, reflections=True)
        filters = getattr(family, f"{name}_basis").filters.flatten(3)
        space = gspaces.FlipRot2dOnR2(count)
        source = space.trivial_repr if name == "lift" else space.regular_repr
        pixels, keep, rings, widths, frequency = compute_basis_params(5)
        solution = space.build_kernel_basis(
            source, space.regular_repr, sigma=widths, rings=rings, maximum_frequency=frequency
        )
        theirs = torch.from_numpy(solution.sample(pixels)).movedim(2, 0)
        theirs = theirs[[i for i, element in enumerate(solution) if keep(element)]]
        assert rank(theirs) == rank(filters) == rank(theirs, filters) == len(filters)

    def test_kernel_weights_have_the_scale_of_he_initialisation(self):
        """As under C_N, the variance is kept without a nonlinearity."""
        assert_scale_is_kept(self.make(5))


class TestSteerableUNet(ModelTester):
    config = "steerableunet"
    parameters = 7_195_093
    equivariant = True


class TestContinuousSteerableUNet(TestSteerableUNet):
    parameters = 2_346_429

    def make(self, **overrides):
        return super().make(**overrides, layers={"rotations": "continuous"})


@pytest.mark.parametrize("rotations", [4, 12])
def test_unet_is_exact_under_reflections(rotations):
    torch.manual_seed(0)
    model = UNet([2, 2, 2], SteerableLayers(rotations=rotations, reflections=True))
    model(torch.randn(4, 3, 32, 32))
    model.eval()
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        y = model(image)
        for turned, expected in (
            (image.flip(3), y.flip(3)),
            (image.flip(2), y.flip(2)),
            (image.mT, y.mT),
            (image.rot90(1, (2, 3)), y.rot90(1, (2, 3))),
        ):
            assert (model(turned) - expected).norm() < 1e-5 * y.norm()


def test_there_are_no_reflections_with_all_rotations():
    with pytest.raises(UserError, match=r"^reflections=true: needs a number of rotations"):
        SteerableLayers(rotations="continuous", reflections=True)


@pytest.mark.parametrize("rotations", [4, 12, "continuous"])
@pytest.mark.parametrize("size", [64, 96, 128])
def test_unet_is_exact_at_90_degrees(rotations, size):
    torch.manual_seed(0)
    model = UNet([2, 2, 2, 2, 2], SteerableLayers(rotations=rotations))
    model(torch.randn(4, 3, 32, 32))  # BatchNorm gets statistics other than 0 and 1
    model.eval()
    image = torch.randn(1, 3, size, size)
    with torch.no_grad():
        y = model(image)
        for quarters in (1, 2, 3):
            error = model(image.rot90(quarters, (2, 3))) - y.rot90(quarters, (2, 3))
            assert error.norm() < 1e-5 * y.norm()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rotations", "limits"),  # at 15, 30 and 45°
    [
        (8, [0.24, 0.24, 0.08]),  # measured: .226, .226, .068
        (12, [0.165, 0.07, 0.165]),  # .159, .067, .160
        ("continuous", [0.04, 0.045, 0.05]),  # .031, .036, .039
    ],
)
def test_error_between_the_pixels(rotations, limits):
    family = SteerableLayers(rotations=rotations)
    error = rotation_error(family, [15, 30, 45, 90], seeds=8)
    print(error)
    assert (error[:3] < torch.tensor(limits)).all()
    assert error[3] < 1e-5


@pytest.mark.slow
def test_continuous_rotations_are_alike():
    """No angle is far worse than the others, where C12 has peaks half-way between them."""
    error = rotation_error(
        SteerableLayers(rotations="continuous"), [7, 20, 33, 50, 61, 77], seeds=4
    )
    print(error)
    assert error.max() < 0.05


@pytest.mark.parametrize("rotations", [4, "continuous"])
class TestKeptKernel:
    """The traps of e2cnn's own filter, which it makes in `.eval()` and deletes in `.train()`."""

    @pytest.fixture
    def conv(self, rotations):
        torch.manual_seed(0)
        return SteerableLayers(rotations=rotations).conv(2, 3)

    @staticmethod
    def output(conv):
        with torch.no_grad():
            return conv(torch.linspace(-1, 1, 16).cos().expand(1, conv.kernel().shape[1], 16, 16))

    def test_same_state_in_both_modes(self, conv):
        assert list(conv.state_dict()) == ["weight"]
        self.output(conv.eval())
        assert list(conv.state_dict()) == ["weight"]

    def test_state_loads_across_modes(self, conv):
        state = {"weight": torch.randn_like(conv.weight)}
        self.output(conv.eval())
        conv.load_state_dict(state)
        in_evaluation = self.output(conv)
        conv.train().load_state_dict(state)
        assert torch.equal(self.output(conv), in_evaluation)
        assert torch.equal(self.output(conv.eval()), in_evaluation)

    def test_copies_in_both_modes(self, conv):
        expected = self.output(conv)
        assert torch.equal(self.output(copy.deepcopy(conv)), expected)
        self.output(conv.eval())
        twin = copy.deepcopy(conv)
        assert torch.equal(self.output(twin), expected)
        twin.weight.data.mul_(2)
        assert torch.equal(self.output(conv), expected)

    def test_autocast_does_not_lower_its_precision(self, conv):
        expected = conv.expand()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert self.output(conv.eval()).dtype == torch.bfloat16
        with torch.no_grad():
            assert torch.equal(conv.kernel(), expected)

    def test_gradients_under_autocast(self, conv):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            conv(torch.randn(1, conv.kernel().shape[1], 8, 8)).float().square().sum().backward()
        assert torch.isfinite(conv.weight.grad).all()
        assert conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("rotations", [4, "continuous"])
def test_unet_under_autocast(rotations):
    torch.manual_seed(0)
    model = UNet([4, 4, 4], SteerableLayers(rotations=rotations))
    image = torch.randn(2, 3, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(image).float().square().mean().backward()
        low = model.eval()(image)
    with torch.no_grad():
        torch.testing.assert_close(low.float(), model(image), atol=0.1, rtol=0.1)


def test_basis_filters_through_arguments():
    def basis(**arguments):
        return len(SteerableLayers(rotations=4, **arguments).lift_basis.std)

    assert basis() == 1 + 5 + 5  # frequency 0 in the middle, 0 to ±2 on the rings 1 and 2
    assert basis(rings=[0, 2]) == 1 + 5
    assert basis(frequencies_cutoff=1) == 1 + 3 + 5
    assert basis(kernel_size=3, rings=[1], frequencies_cutoff=4) == 8  # sin 4θ is 0 at all pixels
    assert len(SteerableLayers().conv_basis.std) == 132


@pytest.mark.parametrize(
    "arguments",
    [
        {"rotations": 0},
        {"rotations": -4},
        {"rotations": 4.0},
        {"rotations": "12"},
        {"rotations": None},
        {"max_frequency": 0},
        {"max_frequency": 1.5},
        {"rings": []},
        {"rings": 3},
        {"rings": [0, 1, 1]},
        {"rings": [2, 1]},
        {"rings": [-1, 1]},
        {"rings": [0, 2.9]},
        {"rings": ["0", "1"]},
        {"frequencies_cutoff": -1},
        {"frequencies_cutoff": "high"},
    ],
)
def test_bad_argument(arguments):
    (name, value), *_ = arguments.items()
    with pytest.raises(UserError) as error:
        SteerableLayers(**arguments)
    assert str(error.value).startswith(f"{name}={value}: must be ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rotations", [1, 6])
def test_warns_where_90_degrees_are_not_in_the_group(rotations):
    with pytest.warns(UserWarning, match=rf"rotations={rotations}: .* not exact"):
        family = SteerableLayers(rotations=rotations)
    assert family.conv(2, 3)(torch.randn(1, 2 * rotations, 8, 8)).shape == (1, 3 * rotations, 8, 8)


def run_fresh(script: str) -> str:
    """What the script prints in a Python process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=200
    )
    return done.stdout


def test_e2cnn_is_imported_only_for_a_family():
    script = """
import sys
from polyp.layers import SteerableLayers
print("e2cnn" in sys.modules)
SteerableLayers(rotations=4)
print("e2cnn" in sys.modules)
"""
    assert run_fresh(script).split() == ["False", "True"]


@pytest.mark.slow
def test_default_model_is_built_within_seconds():
    """1.6 s on one core of 2025, most of it the import of e2cnn."""
    script = f"""
import time
import hydra, torch
from omegaconf import OmegaConf
from polyp.layers.rotation_error import rotation_error
from polyp.models import UNet
torch.set_num_threads(1)
config = OmegaConf.load({str(CONFIGS / "steerableunet.yaml")!r})
start = time.process_time()
hydra.utils.instantiate(config)
print(time.process_time() - start)
"""
    assert float(run_fresh(script)) < 6
