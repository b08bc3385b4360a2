"""Imported before PyTorch by the commands that are nothing without it: says what brings it, where it is absent."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("torch") is None:
    raise SystemExit("PyTorch is not installed. Run: pip install 'zipspark[proof]'")
