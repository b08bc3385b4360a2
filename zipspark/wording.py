"""How errors name options: as flags on the command line, as keywords to those who call from Python.

They are written with flags. Who has called is known at the top alone, and what was raised far below is worded there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from zipspark.config import LeakageConfig, MatrixConfig, RefreshConfig, SelectConfig
from zipspark.options import SECTIONS, is_switch, options_of

_SPARKS_OWN = ("conf", "jars", "master", "remote")  # spark-submit has these flags too, and may be what is spoken of
_KEYWORDS = {
    f"--{name.replace('_', '-')}": f"{name}=True" if is_switch(field) else name
    for model in (SelectConfig, RefreshConfig, MatrixConfig, LeakageConfig)
    for section in SECTIONS
    for name, field in options_of(model, section).items()
    if name not in _SPARKS_OWN
}
_has_flags: ContextVar[bool] = ContextVar("zipspark_has_flags", default=False)


@contextmanager
def by_flags() -> Iterator[None]:
    """A command: its errors name flags."""
    before = _has_flags.set(True)
    try:
        yield
    finally:
        _has_flags.reset(before)


def worded(message: str) -> str:
    """``message``, which names flags, for who has called.

    >>> worded("out exists: give another name, or --overwrite to replace it; set --node-cap 512MB")
    'out exists: give another name, or overwrite=True to replace it; set node_cap 512MB'
    """
    if _has_flags.get():
        return message
    return re.sub(r"(?<![\w-])--[a-z][a-z0-9-]*", lambda flag: _KEYWORDS.get(flag[0], flag[0]), message)
