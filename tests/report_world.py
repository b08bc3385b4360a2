"""Facts of a small run, for tests of the page: all that a report can hold, and what must not break it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from zipspark.core.matrix import Matrix
from zipspark.report.facts import (
    Cluster,
    Coverage,
    Example,
    Excluded,
    Facts,
    Fuller,
    Histogram,
    PartsLoss,
    Point,
)
from zipspark.report.history import History
from zipspark.report.summary import SetLine, Summary

GROUPS = {"code": (500, 40), "chat": (300, 50), "maths": (200, 10)}

# What must stay text. Each would set window.hacked, or break a page that took it for markup, a field or an expression.
HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    '<a href="javascript:window.hacked = 1">click</a><style>* { display: none }</style>',
    "a.b[0]['c'] \\ \"quoted\" {{x}} ${window.hacked = 1} <!--",
    "line\u2028separator & \u202etfel ot thgir \x00 \ud800 end",
    "__proto__",
)


def example(number: int, text: str | None = "some text", **changes: object) -> Example:
    """A sample of group ``chat``; of even number one that was selected."""
    rank = number if number % 2 == 0 else None
    known = Example(f"id-{number}", "chat", 100 + number, 1.5, rank, 2.0 if rank is not None else None, text)
    return replace(known, **changes)


def set_line(name: str, samples: int, size: int, ratio: float) -> SetLine:
    return SetLine(name, samples, size, ratio, size)


def matrix(groups: tuple[str, ...]) -> dict[str, object]:
    values = np.full((len(groups), len(groups)), 0.6) - 0.3 * np.eye(len(groups))
    sizes = (1000,) * len(groups)
    return Matrix(groups, values, np.full(len(groups), 0.8), sizes, sizes).to_dict()


def summary(**changes: object) -> Summary:
    known = Summary(
        budget="100kB",
        sets=(
            set_line("pool", 1000, 1_000_000, 3.3),
            set_line("subset", 100, 100_000, 2.0),
            set_line("random", 100, 100_000, 2.5),
        ),
        decisions={"selected": 100, "not_selected": 900, "guarded": 5},
        groups=GROUPS,
        mix={},
        mix_unit="bytes",
        parts=4,
        seconds={"score": 3.0, "parts": 1.5, "write": 0.5},
        checksum="c0ffee",
    )
    return replace(known, **changes)


def fuller(text: str | None = "the cat sat on the mat", other: str | None = "the dog sat on the mat") -> Fuller:
    return Fuller(
        sets=(set_line("longest", 20, 100_000, 2.8), set_line("lowest own ratio", 300, 100_000, 3.1)),
        coverage=(Coverage("subset", (50_000, 100_000), (0.3, 0.5)), Coverage("random", (50_000, 100_000), (0.2, 0.3))),
        matrix=matrix(tuple(GROUPS)),
        groups=40,
        clusters=(Cluster(30, 3000, 1, 9.5, (example(0, text), example(1, other))),),
        parts=PartsLoss(4, 4, 500_000, 50_000, 2.0, 2.02, 0.9),
    )


def facts(**changes: object) -> Facts:
    """All sections, but for what ``--full`` adds."""
    known = Facts(
        summary=summary(),
        manifest={"run_id": "run-1", "config": {"guard": True, "objective": "ratio"}, "budget": {"unit": "bytes"}},
        ranking=tuple(Point(25 * step, 25_000 * step, 1.2 + 0.5 * step) for step in (1, 2, 3, 4)),
        histograms=(
            Histogram("bytes", (0, 100, 1000, 10_000), (10, 80, 10), (100, 700, 100)),
            Histogram("ratio", (1.0, 2.0, 3.0), (60, 40), (450, 450)),
        ),
        excluded=(Excluded("guarded", "entropy:high", 5, 500, (example(1, "zGVq8a91"),)),),
        first=(example(0, "the very first pick"),),
        last=(example(98, "the very last pick"),),
        samples=tuple(example(number, f"sample number {number}") for number in range(60)),
    )
    return replace(known, **changes)


def hostile() -> Facts:
    """Everything that comes from users says something hostile."""
    named = {name: (500 - 10 * at, 50 - at) for at, name in enumerate(HOSTILE)}
    samples = tuple(example(at, text, zip_id=text, group=text) for at, text in enumerate(HOSTILE))
    everything = fuller(HOSTILE[0] + " same end", HOSTILE[1] + " same end")
    return facts(
        summary=summary(
            budget=HOSTILE[0],
            groups=named,
            mix=dict.fromkeys(named, (10.0, 9.0)),
            notes=HOSTILE,
        ),
        manifest={"config": {"where": HOSTILE[0], "input": list(HOSTILE)}, "run_id": HOSTILE[1]},
        excluded=tuple(Excluded("quarantined", text, 1, 10, samples[:1]) for text in HOSTILE),
        first=samples,
        last=samples,
        samples=samples,
        full=replace(everything, matrix=matrix(HOSTILE)),
    )


def history(*ratios: float | None, **last: object) -> History:
    """One refresh per ratio, each a day later; ``last``: what the last row says otherwise."""
    rows = []
    for number, ratio in enumerate(ratios):
        rows.append(
            {
                "refresh": number,
                "run_id": f"run-{number}",
                "at": datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=number),
                "mode": "append",
                "changes": "feed" if number else "all",
                "corpus": "/lake/chats",
                "corpus_version": number,
                "rows_new": 700 * bool(number),
                "rows_updated": 0,
                "rows_deleted": 3 * bool(number),
                "rows_added": 100,
                "bytes_added": 51_000,
                "rows_dropped": 2 * bool(number),
                "bytes_dropped": 900 * bool(number),
                "rows": 100 + 98 * number,
                "bytes": 51_000 * (number + 1),
                "ratio_before": ratios[number - 1] if number else None,
                "ratio_after": ratio,
                "seconds": 12.5,
            }
        )
    rows[-1] |= last
    return History("/lake/chosen", tuple(rows), tuple(example(rank, text) for rank, text in enumerate(HOSTILE)))
