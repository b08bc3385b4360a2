"""What a command says on stderr while it runs."""

from __future__ import annotations

import re


def stages(said: str) -> list[str]:
    """The stages that were done, each with its counter: ``1/3 score``."""
    return [f"{counter} {name}" for counter, name in re.findall(r"\[(\d+/\d+)\] (\S+)  .*  done$", said, re.MULTILINE)]
