"""Leakage: recall and false alarms on items injected into a pool, beside a check for shared 13-grams of words.

Items are taken out of the pool, with all samples of the same prompt, then put back changed: alone, or (every second
one) behind half of another sample. Those that stay out measure false alarms. A pool can hold parts of them all the same
(a passage that many questions are about, a template, an idiom of code), so they are counted apart by whether 13 words
in a row are in the pool: where none are, each alarm is a false one.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from pools import records_of, rendered
from results import Results, option

from zipspark.core.leakage import Finding, normalised, search

SHORTEST = 64  # bytes of an item
OUT = ("not injected, no 13 words shared", "not injected, 13 words shared")
COLUMNS = ("injected", "items", "whole", "part", "found", "by 13-grams", "scores")
ARMS = ("verbatim", "case and spaces", "answer removed", "every tenth word", *OUT)


@click.command(help=__doc__)
@click.argument("pool", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--rows", default=40_000, show_default=True, help="samples of POOL, at random")
@click.option("--items", default=300, show_default=True, help="items of each kind")
@click.option("--seed", default=0, show_default=True)
@option
def main(pool: Path | None, rows: int, items: int, seed: int, results: Path) -> None:
    """POOL is a Parquet file of chats or prompts; without one, the demo corpus is used."""
    with Results("leakage", pool, results) as out:
        tried(out, pool, rows, items, seed)


def tried(out: Results, pool: Path | None, rows: int, items: int, seed: int) -> None:
    draw = random.Random(seed)
    records = records_of(pool, 10**9)
    records = draw.sample(records, min(rows, len(records)))
    texts = [text.decode() for text in rendered(records)]
    prompts = [prompt_of(record) for record in records]
    offered = [row for row, text in enumerate(texts) if len(text) >= SHORTEST]
    held = draw.sample(offered, min(5 * items, len(offered) // 4))
    arms = [ARMS[number % 5] for number in range(len(held))]
    out_of_pool = {normalised(prompts[row]) for row in held}
    kept = [text for text, prompt in zip(texts, prompts, strict=True) if normalised(prompt) not in out_of_pool]
    words = [word for text in draw.sample(kept, min(2000, len(kept))) for word in text.split()]
    injected = []
    for number, (row, arm) in enumerate(zip(held, arms, strict=True)):
        if (changed := altered(arm, texts[row], prompts[row], draw, words)) is not None:
            other = draw.choice(kept)
            injected.append(f"{other[: len(other) // 2]}\n{changed}" if number % 2 else changed)
    leaked = [*kept, *injected]

    started = time.perf_counter()
    found = search([texts[row] for row in held], leaked)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    overlapping = word_overlap([texts[row] for row in held], leaked)
    out.say(f"{len(leaked):,} samples, {sum(map(len, leaked)) / 1e6:.1f} M characters; {len(held):,} items.")
    out.say(f"zipspark {seconds:.1f} s, 13-grams {time.perf_counter() - started:.1f} s.")
    arms = [OUT[shared] if arm in OUT else arm for arm, shared in zip(arms, overlapping, strict=True)]
    out.table("found", COLUMNS, found_rows(arms, [finding for finding, _ in found], overlapping))
    right = [
        row for (finding, row), arm in zip(found, arms, strict=True) if arm not in OUT and finding.verdict != "none"
    ]
    exact = sum(row >= len(kept) for row in right)
    out.say(f"Of the injected items found, {exact / max(len(right), 1):.1%} are matched to an injected sample.")


def altered(arm: str, text: str, prompt: str, draw: random.Random, words: Sequence[str]) -> str | None:
    """What of an item is put into the pool; None: nothing."""
    if arm == "verbatim":
        return text
    if arm == "case and spaces":
        return "  ".join(word.upper() if draw.random() < 0.5 else word.lower() for word in text.split())
    if arm == "answer removed":
        return prompt
    if arm == "every tenth word":
        parts = re.split(r"(\s+)", text)
        for at in range(draw.randrange(10) * 2, len(parts), 20):
            parts[at] = draw.choice(words)
        return "".join(parts)
    return None


def prompt_of(record: dict[str, Any]) -> str:
    """All but the answer of a chat or of a prompt with its response."""
    if "conversations" in record:
        return "\n".join(message["value"] for message in record["conversations"][:-1])
    return str(record["prompt"])


def word_overlap(items: Sequence[str], pool: Sequence[str], size: int = 13) -> list[bool]:
    """Whether any 13 words in a row of an item stand in the pool as well (Brown et al. 2020, appendix C)."""
    of_items = [grams(item, size) for item in items]
    wanted = set().union(*of_items)
    seen: set[int] = set()
    for text in pool:
        seen |= grams(text, size) & wanted
    return [bool(mine & seen) for mine in of_items]


def grams(text: str, size: int) -> set[int]:
    words = re.findall(r"\w+", text.casefold())
    return {hash(tuple(words[at : at + size])) for at in range(len(words) - size + 1)}


def found_rows(arms: Sequence[str], found: Sequence[Finding], overlapping: Sequence[bool]) -> Iterator[list[str]]:
    """A row per kind of item; scores at the 10th, 50th and 90th percentile."""
    for arm in ARMS:
        mine = [number for number, name in enumerate(arms) if name == arm]
        verdicts = Counter(found[number].verdict for number in mine)
        scores = sorted(found[number].score for number in mine)
        yield [
            arm,
            f"{len(mine):,}",
            share(verdicts["whole"], mine),
            share(verdicts["part"], mine),
            share(verdicts["whole"] + verdicts["part"], mine),
            share(sum(overlapping[number] for number in mine), mine),
            " ".join(f"{scores[int(at * len(scores))]:.2f}" for at in (0.1, 0.5, 0.9) if scores),
        ]


def share(count: int, of: Sequence[int]) -> str:
    return f"{count / max(len(of), 1):.1%}"


if __name__ == "__main__":
    main()
