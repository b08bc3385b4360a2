"""What a subset teaches a transformer: the options and the runs that training.py and law.py have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import click
import needs_torch  # noqa: F401
import numpy as np
import torch
from kept import Json
from measures import wide_ratio
from pools import LIKE_POOL, Split, of_large_sources, records_of, split_of
from transformer import KINDS, SIZES, HeldOut, Vocabulary, learned, new, prepared

from zipspark.units import format_bytes, parse_size

PACKAGES = ("torch", "tokenizers")
TOKENS = {"small": 2_000_000, "base": 4_000_000, "large": 40_000_000}  # seen in a run
HELD_OUT = {"small": 50, "base": 100, "large": 150}  # samples of a source; asking costs a third of learning
BEHIND = 40_000  # samples of POOL behind --rows that pre-training draws from


SEEN = ", ".join(f"{size} {tokens / 1e6:g}e6" for size, tokens in TOKENS.items())
ASKED = ", ".join(f"{size} {samples}" for size, samples in HELD_OUT.items())
# What a run depends on.
OPTIONS = (
    click.argument("pool", required=False, type=click.Path(exists=True, path_type=Path)),
    click.option("--rows", default=60_000, show_default=True, help="samples read from POOL"),
    click.option("--skip", default=0, show_default=True, help="samples of POOL before the first that is read"),
    click.option("--budget", default="1MB", show_default=True, help="bytes of each subset"),
    click.option("--size", default="small", show_default=True, type=click.Choice(list(SIZES)), help="of transformer"),
    click.option("--tokens", type=float, help=f"that each model sees  [default: {SEEN}]"),
    click.option("--held-out", type=int, help=f"samples of a source at most  [default: {ASKED}]"),
    click.option("--pretrain", help="bytes of POOL behind --rows that each model reads once before its subset"),
    click.option("--threads", type=int, help="of the processor  [default: all cores]"),
)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    for add in reversed(OPTIONS):
        command = add(command)
    return command


@dataclass
class Bench:
    """One pool and one size of transformer: a split per seed, and what any of its subsets teaches."""

    pool: Path | None
    rows: int
    skip: int
    budget: int  # bytes
    name: str  # of the size
    tokens: int  # seen in a run
    asked: int  # held-out samples of a source, at most
    pretrain: int  # bytes seen before it
    device: torch.device

    @classmethod
    def of(
        cls,
        pool: Path | None,
        rows: int,
        skip: int,
        budget: str,
        size: str,
        tokens: float | None,
        held_out: int | None,
        pretrain: str | None,
        threads: int | None,
    ) -> Bench:
        """As the command line has it."""
        if pretrain and not pool:
            raise click.UsageError("pretrain needs a POOL: the demo corpus has nothing behind its samples")
        seen, asked = int(tokens or TOKENS[size]), held_out or HELD_OUT[size]
        before = parse_size(pretrain) if pretrain else 0
        return cls(pool, rows, skip, parse_size(budget), size, seen, asked, before, prepared(threads))

    def __post_init__(self) -> None:
        self.size = SIZES[self.name]
        # Of one seed at a time, as they are run; none where every run is kept already.
        self.split = lru_cache(1)(self._split)
        self._held_out = lru_cache(1)(self._asked)
        self._start = lru_cache(1)(self._pretrained)
        self._records = lru_cache(2)(lambda rows, skip: of_large_sources(records_of(self.pool, rows, skip)))

    def options(self) -> Json:
        """All that a result depends on, but for the subset and the seed."""
        return {
            "rows": [self.skip, self.skip + self.rows],
            "budget": self.budget,
            "held out": self.asked,
            "size": asdict(self.size),
            "kinds": KINDS,
            "tokens": self.tokens,
            "pretrain": self.pretrain,
            "device": self._machine() if self.device.type == "cuda" else "cpu",
        }

    def learn(self, texts: Sequence[bytes], seed: int) -> Json:
        """The figures of a subset."""
        start = self._start(seed) if self.pretrain else None
        found, _ = learned(texts, self._held_out(seed), self.size, self.tokens, seed, self.device, start)
        of_set = {"R": wide_ratio(texts), "bytes": sum(map(len, texts)), "samples": len(texts)}
        curve = {
            str(seen): {source: round(each, 5) for source, each in bits.items()} for seen, bits in found.curve.items()
        }
        return of_set | asdict(found) | {"curve": curve}

    def records(self) -> list[dict[str, Any]]:
        return self._records(self.rows, self.skip)

    def describe(self, runs: Sequence[Json]) -> str:
        weights = sum(each.numel() for each in new(KINDS, self.size, 0).parameters())
        seconds = float(np.mean([run["seconds"] for run in runs]))
        before = f", after {format_bytes(self.pretrain)} of other samples of the pool" if self.pretrain else ""
        chosen = format_bytes(max(run["bytes"] for run in runs))
        return (
            f"Transformer `{self.name}`: {weights / 1e6:.2f} M weights, {KINDS:,} kinds of token, {self.size.context} "
            f"in context; {self.tokens / 1e6:g} M tokens seen{before}; {chosen} chosen, so "
            f"{min(run['epochs'] for run in runs):.1f} epochs or more; up to {self.asked} held-out samples of a "
            f"source. On {self._machine()}, {seconds:,.0f} s a run ({self.tokens / seconds:,.0f} tokens/s)."
        )

    def _machine(self) -> str:
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"the processor, threads: {torch.get_num_threads()}"

    def _split(self, seed: int) -> Split:
        return split_of(self.records(), self.budget, seed, self.asked)

    def _asked(self, seed: int) -> HeldOut:
        split = self.split(seed)
        return HeldOut(split.held_out, Vocabulary(split.samples, seed), self.size)

    def _pretrained(self, seed: int) -> Mapping[str, Any]:
        """Weights of a model that read samples behind the pool once; prompts held out are held out of these too."""
        other = split_of(self._records(BEHIND, self.skip + self.rows), self.pretrain, seed)
        pool = set(self.split(seed).samples)
        order = np.random.default_rng((seed, BEHIND)).permutation(len(other.samples))
        texts = [text for text in map(other.samples.__getitem__, order) if text not in pool]
        ends = np.cumsum([len(text) for text in texts])
        if not len(ends) or ends[-1] < self.pretrain:
            raise click.UsageError(
                f"pretrain must be at most what POOL has behind --rows, {format_bytes(sum(ends[-1:]))}"
            )
        texts = texts[: int(np.searchsorted(ends, self.pretrain)) + 1]
        asked = self._held_out(seed)
        tokens = sum(map(len, asked.vocabulary.encoded(texts)))
        _, model = learned(texts, asked, self.size, tokens, seed, self.device)
        return model.state_dict()


def at_end(run: Json) -> Mapping[str, float]:
    """Source -> bits per byte, once all tokens were seen."""
    return run["curve"][list(run["curve"])[-1]]


def over_sources(bits: Mapping[str, float]) -> float:
    return float(np.mean([each for source, each in bits.items() if source != LIKE_POOL]))


def mean(run: Json) -> float:
    return over_sources(at_end(run))


def like_pool(run: Json) -> float:
    return at_end(run)[LIKE_POOL]
