"""polyp.cli_paths: what Hydra makes of a path must be the path, whatever is in its name."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from polyp.cli_paths import quote_path_overrides

KEYS = {"run", "runs", "data.root", "resume", "hydra.run.dir"}


def as_hydra_reads(argument: str, *others: str):
    [override, *_] = quote_path_overrides([argument, *others], KEYS)
    return OverridesParser.create().parse_override(override).value()


@pytest.mark.parametrize(
    "path",
    [
        "outputs/sweeps/model=unet,seed=0",
        "scans (new), 3=b/für ü",
        "a:b",
        "{a}",
        "[a]b",
        "[ab]*/[cd]",
        "[a",
        "2024",
        "1.50",
        "true",
        "1e3",
        "nan",
        "Mary's",
        "a 'b' c",
        'a "b" c',
        "'",
        " a ",
        "ends with \\",
        "\\'",
        "C:\\Users\\a",
        "frames/*.png",
        "a=b",
        "~/a",
        "a#b!&;%@|?^<>",
        "新",
        "choice(a,b)",
        "a\nb",
    ],
)
@pytest.mark.parametrize("key", ["run", "+data.root", "++resume"])
def test_a_path_stays_as_it_is(key, path):
    assert as_hydra_reads(f"{key}={path}") == path


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("'a,b=c'", "a,b=c"),
        ('"a,b"', "a,b"),
        ("'it\\'s'", "it's"),
        ("null", None),
        ("", ""),
        ("${oc.env:HOME}/a", "${oc.env:HOME}/a"),
        ("outputs/${now:%H-%M}", "outputs/${now:%H-%M}"),
        ("[]", []),
        ("[a=1,b (2), ü]", ["a=1", "b (2)", "ü"]),
        ("['a,b=c',d e]", ["a,b=c", "d e"]),
        ("[a[1],b]", ["a[1]", "b"]),
        ("[2024,null]", ["2024", None]),
    ],
)
def test_what_hydra_knows_keeps_its_meaning(value, expected):
    assert as_hydra_reads(f"runs={value}") == expected


@pytest.mark.parametrize(
    "argument",
    ["model=unet,seed=0", "angles=[0,90]", "-m", "--config-dir=a,b", "run", "~run", "my.run=a,b"],
)
def test_other_arguments_are_left_alone(argument):
    assert quote_path_overrides([argument], KEYS) == [argument]


def test_in_a_multirun_commas_separate_values():
    arguments = ["-m", "data.root=a,b", "run=choice(a,b)", "resume=x (y)=z", "seed=0,1"]
    expected = ["-m", "data.root=a,b", "run=choice(a,b)", "resume='x (y)=z'", "seed=0,1"]
    assert quote_path_overrides(arguments, KEYS) == expected
