"""Which errors are a user's, and what line they become."""

import errno

import pytest
from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import ConfigAttributeError

from polyp.cli import user_message
from polyp.errors import UserError


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("data.x=1: too small"), "data.x=1: too small"),
        (raised(HydraException("in call"), UserError("the reason")), "the reason"),
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "/a/b: No space left on device"),
        (
            HydraException("Key 'x'\nis not there\n  full_key: x"),
            "Key 'x'; is not there; full_key: x",
        ),
        (
            HydraException("In 'train'\nConfig search path:\n\tprovider=main, path=configs"),
            "In 'train'",
        ),
        (
            raised(
                InstantiationException("in call\nfull_key: model.layers"), UserError("n=2: odd")
            ),
            "model.layers.n=2: odd",
        ),
        (
            raised(InstantiationException("in call\nfull_key: data"), UserError("data.n=2: odd")),
            "data.n=2: odd",
        ),
        (ConfigAttributeError("Missing\nobject_type=dict"), "Missing"),
    ],
)
def test_a_users_mistake_becomes_one_line(error, line):
    assert user_message(error) == line


@pytest.mark.parametrize("error", [RuntimeError("x"), ValueError("x"), FileNotFoundError(2, "x")])
def test_the_programs_own_mistakes_keep_their_traceback(error):
    assert user_message(error) is None
