"""What ``zipspark doctor`` finds: a check says one line and never raises, so that the others go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from zipspark.errors import ZipsparkError
from zipspark.failures import explain_spark_error, first_line
from zipspark.storage.places import redact_all

State = Literal["ok", "note", "broken"]  # note: all that is needed works, but something does not


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    state: State
    said: str
    command: str | None = None  # that mends it, or what to do


@dataclass(frozen=True)
class Diagnosis:
    """All findings; `to_dict` is what ``--json`` prints."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether all that is needed works."""
        return all(check.state != "broken" for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        return {"healthy": self.healthy, "checks": [asdict(check) for check in self.checks]}

    def __str__(self) -> str:
        width = max((len(check.name) for check in self.checks), default=0)
        lines = []
        for check in self.checks:
            lines.append(f"{check.state:6}  {check.name:{width}}  {check.said}")
            if check.command:
                lines.append(f"{'':8}{'':{width}}  → {check.command}")
        return "\n".join(lines)


def checked(name: str, look: Callable[[], Check], command: str | None = None) -> Check:
    """What ``look`` finds; what it raises is a finding too, with ``command`` where the error has none of its own."""
    try:
        return look()
    except ModuleNotFoundError:
        return Check(name, "broken", "not installed", command)
    except Exception as error:
        ours = error if isinstance(error, ZipsparkError) else explain_spark_error(error)
        said, _, mend = redact_all(first_line(ours or error)).partition(" Run: ")
        return Check(name, "broken", said.rstrip("."), mend or command)
