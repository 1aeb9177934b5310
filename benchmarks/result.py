"""What a measurement hands in: results, and what it had to leave out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One number, and what it should be.

    Attributes:
        measure: the measurement that it is of, as configs/benchmark.yaml names it.
        what: is measured.
        value: the number; NaN where this machine cannot tell it.
        unit: of the number: "×" for a ratio, "s", "MB", …
        target: what it should not exceed, or should reach with `at_least`; None for a number that
            only explains others. Such numbers are in benchmark.csv alone.
        at_least: whether larger is better.
        detail: what the number is made of.
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
class LeftOut:
    """Something that was asked for, but could not be measured here, and why."""

    measure: str
    what: str
    reason: str
