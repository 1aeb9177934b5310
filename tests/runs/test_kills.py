"""A run that is killed at random moments and resumed each time is the undisturbed one."""

from tests import kills


def test_a_killed_run_goes_on(tmp_path):
    found = kills.run(tmp_path, epochs=4, count=3, seed=0, longest=lambda whole: 0.8 * whole)
    assert found  # the first kill is before the end
