"""The results of a measurement, and what was skipped."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One number and its target.

    Attributes:
        measure: the measurement, as named in configs/benchmark.yaml.
        what: what is measured.
        value: the number; NaN if this machine cannot measure it.
        unit: of the number: "×" for a ratio, "s", "MB", …
        target: the number should not exceed it, or with `at_least` should reach it; None for a
            number that only explains others. Such numbers are only in benchmark.csv.
        at_least: whether larger is better.
        detail: the numbers that it was computed from.
    """

    measure: str
    what: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False
    detail: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclass(frozen=True)
class Skipped:
    """A measurement that is not possible here, with the reason."""

    measure: str
    what: str
    reason: str
