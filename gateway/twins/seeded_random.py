"""Seeded random choices and reversible ids, equal on every machine and Python version."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_MASK = (1 << 64) - 1
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
ABSENT = object()  # a field that is left out


class SeededRandom:
    """A random generator that only depends on its seeds (splitmix64)."""

    __slots__ = ("_state",)

    def __init__(self, *seeds: int) -> None:
        self._state = 0
        for seed in seeds:
            self._state = self.bits() ^ (seed & _MASK)

    def bits(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def below(self, limit: int) -> int:
        return self.bits() % limit

    def pick(self, options: Sequence[T]) -> T:
        return options[self.bits() % len(options)]

    def one_in(self, sides: int) -> bool:
        return self.bits() % sides == 0


class ReversibleIds:
    """Text ids that look random but can be converted back to the number they encode, so no index is needed."""

    def __init__(self, prefix: str, width: int, base: int = 36) -> None:
        self._prefix, self._width, self._base = prefix, width, base
        self._digits = _DIGITS[:base]
        self._size: int = base**width
        self._factor = 0x9E3779B97F4A7C15F39CC0605CEDC835 % self._size | 1
        while self._factor % 3 == 0:
            self._factor += 2
        self._inverse: int = pow(self._factor, -1, self._size)

    def text(self, number: int) -> str:
        rest = (number + 1) * self._factor % self._size
        digits = []
        for _ in range(self._width):
            rest, digit = divmod(rest, self._base)
            digits.append(self._digits[digit])
        return self._prefix + "".join(digits)

    def number(self, text: str) -> int | None:
        """Return the number that an id encodes, or None for text that is not such an id."""
        digits = text[len(self._prefix) :]
        if not text.startswith(self._prefix) or len(digits) != self._width or digits.strip(self._digits):
            return None
        rest: int = sum(self._digits.index(digit) * self._base**place for place, digit in enumerate(digits))
        return rest * self._inverse % self._size - 1


def present_fields(**fields: object) -> dict[str, object]:
    """Return the fields that are not `ABSENT`."""
    return {name: value for name, value in fields.items() if value is not ABSENT}
