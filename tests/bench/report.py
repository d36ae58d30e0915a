"""One measured figure, beside its goal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`at_least` or `at_most` is the goal; a figure with neither is there to explain the others.

    `form` is the format specification of value and goal.
    """

    what: str
    value: float
    form: str = ".2f"
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def verdict(self) -> str:
        """ok, MISSED, or nothing where there is no goal."""
        if self.at_least is None and self.at_most is None:
            return ""
        met = (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )
        return "ok" if met else "MISSED"

    def __str__(self) -> str:
        goal = "-"
        if self.at_least is not None:
            goal = f">= {self.at_least:{self.form}}"
        elif self.at_most is not None:
            goal = f"<= {self.at_most:{self.form}}"
        return f"  {self.what:<68} {self.value:>9{self.form}} {self.unit:<9} {goal:<10} {self.verdict}".rstrip()
