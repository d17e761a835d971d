"""Numbers with bands, and the ratio that corrects a prediction by what was seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

# Two-sided 95 % of Student's t for five observations. With more it is too wide, which does no harm.
_STANDARD_ERRORS = 2.78
# What the first songs of a catalogue cannot tell about the rest, whatever they agree on.
_DRIFT = 0.01


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that is not known yet: what is expected, and the bounds between which it should come out."""

    low: float
    expected: float
    high: float

    def times(self, other: "Figure | float") -> "Figure":
        """The product; of two figures, bound by bound, as if both erred the same way."""
        if isinstance(other, Figure):
            return Figure(self.low * other.low, self.expected * other.expected, self.high * other.high)
        return Figure(self.low * other, self.expected * other, self.high * other)

    def plus(self, other: "Figure") -> "Figure":
        """The sum, bound by bound, as if both erred the same way."""
        return Figure(self.low + other.low, self.expected + other.expected, self.high + other.high)


def ratio(seen_and_predicted: Sequence[tuple[float, float]]) -> Figure:
    """What to multiply predictions by, from two or more pairs of what was seen and what was predicted.

    The ratio estimator (Cochran, Sampling Techniques, chapter 6): the sum of what was seen over the sum of
    what was predicted. Its band is 95 % by its standard error, and 1 % for what no sample tells.
    """
    count = len(seen_and_predicted)
    seen = sum(each for each, _ in seen_and_predicted)
    found = seen / sum(predicted for _, predicted in seen_and_predicted)
    squares = sum((each - found * predicted) ** 2 for each, predicted in seen_and_predicted)
    error = sqrt(squares * count / (count - 1)) / seen
    band = min(1, _STANDARD_ERRORS * error + _DRIFT)
    return Figure(found * (1 - band), found, found * (1 + band))
