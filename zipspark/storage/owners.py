"""Who works in a folder: what a run writes there of itself, and whether it is still alive."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def owner() -> dict[str, Any]:
    """This process, to be written as JSON."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": _start_of(os.getpid())}


def is_running(of: Mapping[str, Any]) -> bool:
    """Whether another process of this machine, which said `owner` of itself, is alive: elsewhere it cannot be told."""
    pid = of.get("pid")
    if of.get("host") != socket.gethostname() or not isinstance(pid, int) or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        pass
    return _start_of(pid) == of.get("started")  # or its number has gone to another process


def _start_of(pid: int) -> str | None:
    """When a process started, in ticks since the machine did; None where the system does not say, or it is dead."""
    with suppress(OSError, IndexError):
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if facts[0] in "ZX" else facts[19]  # nobody has waited for it: its number is still taken
    return None
