"""Sizes and budgets as people write them: ``500MB``, ``8MiB``, ``20Mtok``, ``5%``, ``10000``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from zipspark.errors import UsageError

_FACTOR = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
# Tokens alone may stand after a space: they are a word, B and % are not.
_NUMBER = re.compile(
    r"(?P<number>-?\d+(?:[._]\d+)*)(?: (?=[kKMGT]?i?tok))?(?P<prefix>[kKMGT]i?)?(?P<unit>B|%|tok(?:ens?)?)?", re.ASCII
)
_BUDGET_FORMS = "a number of rows (10000), a share of {whole} (5%), a size (500MB, 64MiB) or tokens (20Mtok)"

Unit = Literal["rows", "bytes", "tokens", "share"]


@dataclass(frozen=True)
class Budget:
    """How much to choose.

    >>> parse_budget("5%").resolve(rows=1000)
    Budget(unit='rows', amount=50)
    >>> str(parse_budget("20Mtok"))
    '20,000,000 tokens'
    """

    unit: Unit
    amount: float  # rows, bytes of rendered text, tokens of it, or a fraction in (0, 1]

    def resolve(self, rows: int) -> Budget:
        """The same budget with a share turned into rows of a pool of ``rows`` samples (rounded up, so never none)."""
        if self.unit != "share":
            return self
        return Budget("rows", min(rows, max(1, math.ceil(self.amount * rows - 1e-9))))

    @property
    def plain(self) -> str:
        """The text that `parse_budget` makes it of.

        >>> parse_budget("2.5MB").plain, parse_budget("5%").plain, parse_budget(100).plain
        ('2500000B', '5.0%', '100')
        """
        if self.unit == "share":
            return f"{100 * self.amount!r}%"
        return f"{int(self.amount)}{ {'rows': '', 'bytes': 'B', 'tokens': 'tok'}[self.unit] }"

    def __str__(self) -> str:
        if self.unit == "share":
            return f"{self.amount:.4%}".rstrip("0%").rstrip(".") + "%"
        return f"{int(self.amount):,} {self.unit}"


def parse_size(text: str | int, field: str = "size") -> int:
    """Bytes in ``text``: ``kMGT`` are decimal, ``KiMiGiTi`` binary, the final B may be left out.

    >>> parse_size("8MiB"), parse_size("1.5MB"), parse_size(512)
    (8388608, 1500000, 512)
    """
    number, unit = _parse(str(text), field, "a size such as 8MiB or 500MB")
    if unit not in ("", "B") or number < 1:
        raise UsageError(f"{field} must be a size above 0 such as 8MiB or 500MB, got {text!r}")
    return int(number)


def parse_budget(
    text: str | float | Budget, field: str = "budget", *, whole: str = "the pool", zero: bool = False
) -> Budget:
    """Read a budget, or a limit of a group, which is written the same way; ``whole`` is what a share is of.

    Raises `UsageError` for anything that is in none of the four forms or not above zero (with ``zero``: below zero).

    >>> parse_budget("2.5MB"), parse_budget("500 ktok")
    (Budget(unit='bytes', amount=2500000), Budget(unit='tokens', amount=500000))
    """
    if isinstance(text, Budget):
        return text
    forms = _BUDGET_FORMS.format(whole=whole)
    number, unit = _parse(str(text), field, forms)
    if number < 0 or (not zero and (number == 0 or (unit in ("B", "tok") and number < 1))):
        raise UsageError(f"{field} must be {'0 or more' if zero else 'above 0'}, got {text!r}; give {forms}")
    if unit == "%":
        if number > 100:
            raise UsageError(f"{field} must be at most 100%, got {text!r}")
        return Budget("share", number / 100)
    if unit == "B":
        return Budget("bytes", int(number))
    if unit == "tok":
        return Budget("tokens", int(number))
    if number != int(number):
        raise UsageError(f"{field} counts whole rows, got {text!r}; give {forms}")
    return Budget("rows", int(number))


def _parse(text: str, field: str, forms: str) -> tuple[float, str]:
    """(number with its prefix applied, unit: '', 'B', '%' or 'tok')."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None or text.count(".") > 1:
        raise UsageError(f"{field} must be {forms}, got {text!r}")
    prefix, unit = match["prefix"] or "", (match["unit"] or "")[:3]
    prefix = "k" if prefix == "K" else prefix
    number = float(match["number"].replace("_", "")) * _FACTOR[prefix]
    if (unit == "%" and prefix) or not math.isfinite(number):
        raise UsageError(f"{field} must be {forms}, got {text!r}")
    return number, unit


def format_bytes(size: float) -> str:
    """``4_512_000`` → ``'4.5 MB'`` (decimal, as budgets are)."""
    for limit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= limit:
            return f"{size / limit:.1f} {name}"
    return f"{int(size)} B"


def shortened(text: str, most: int = 28) -> str:
    """At most so many characters of a name that has to fit somewhere.

    >>> shortened("a name that is long", 10)
    'a name th…'
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"
