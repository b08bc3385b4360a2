"""A pool of any size out of a given one: its samples, then variants of them that say the same in other words.

    python benchmarks/variation.py OUT [POOL] [--rows 1000000] [--originals 125000] [--seed 0]

Originals are records of POOL, evenly spread over it; then round after round goes through them again and changes every
message: names, numbers, common words and contractions are others, sentences of a line and paragraphs of prose stand in
another order, there are other blanks, blank lines and small first letters, and words of six letters and more give way
to others of that length, as if the same were said of something else; whatever a word becomes it is in all of the
sample. How much of that happens is drawn for each variant, from next to nothing to half of its long words: given its
original, a variant costs zstd between a tenth and two fifths of what it costs alone. The first message ends with a
number of its own, or variants of a short sample might be equal. Sizes stay within a few per cent.

Pools of several sizes can be compared where all have as many rows for each original: then they have the same share of
variants, families of the same size and the same mix of POOL.

It stands for the volume, lengths, formats and partial redundancy of a large pool. It does not stand for its breadth:
most rows are variants, sources are the same, vocabulary hardly grows, and near-copies come in families of equal size.
It does not stand for its sense: sums do not add up, code is changed as if it were prose. Memory is that of one batch
whatever the rows, and the same seed, pool, rows and originals give the same file.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zipspark import demo

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("source", pa.string()),
        ("conversations", pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))),
    ]
)
BATCH = 10_000  # rows held at once, and of a row group
LONG = 6  # letters of a word that can give way to any other as long
FAMILIES = (  # each is a name for any of its family
    "James Robert John Michael David William Richard Joseph Thomas Charles Daniel Tom Tim Jack Peter Sam Max Ben",
    "Mary Patricia Jennifer Linda Elizabeth Barbara Susan Jessica Sarah Karen Lisa Emily Jane Anna Alice Lucy Mia",
    "London Paris Berlin Madrid Rome Vienna Boston Chicago Seattle Denver Toronto Sydney Dublin Oslo Tokyo Lima",
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "January February March April June July August September October November December",
    "red blue green yellow purple orange brown black white grey pink",
    "dog cat horse bird fish rabbit mouse lion tiger bear wolf fox cow sheep goat",
    "apples oranges bananas pears grapes cherries peaches lemons plums",
)
ALIKE = (  # any of a line can stand for the others
    "big|large|sizable",
    "small|little",
    "important|essential|vital|crucial",
    "help|assist",
    "use|employ",
    "using|employing",
    "show|demonstrate",
    "also|moreover",
    "however|yet|still",
    "many|numerous|lots of",
    "often|frequently",
    "quickly|rapidly|fast",
    "begin|start",
    "buy|purchase",
    "provide|offer|give",
    "provides|offers|gives",
    "need|require",
    "various|different|several",
    "ensure|make sure",
    "create|make|build",
    "good|fine|great",
    "for example|for instance|say",
    "can|may",
    "must|should",
    "about|around|roughly",
    "example|instance|sample",
    "way|manner",
    "answer|reply|response",
    "question|query",
    "find|discover",
    "think|believe",
    "people|persons|folks",
    "difficult|hard|tough",
    "easy|simple",
    "include|contain",
    "includes|contains",
    "increase|raise",
    "reduce|lower|decrease",
    "that's|that is",
    "it's|it is",
    "don't|do not",
    "doesn't|does not",
    "can't|cannot",
    "I'm|I am",
    "I'd|I would",
    "you're|you are",
    "they're|they are",
    "isn't|is not",
    "won't|will not",
    "each|every",
    "within|inside",
    "between|among",
    "the following|these",
    "a number of|some",
)
SENTENCE = re.compile(r"(?<=[.!?]) (?=[A-Z])")
PROSE = re.compile(r"[A-Z][^\n]{60,}[.!?]\Z")


def _choices() -> dict[str, tuple[list[str], int]]:
    """Word -> (what may stand in its place, its own position there)."""
    found = {}
    for words in (*(line.split() for line in FAMILIES), *(line.split("|") for line in ALIKE)):
        for forms in (words, [word[0].upper() + word[1:] for word in words]):
            found |= {word: (forms, at) for at, word in enumerate(forms)}
    return found


CHOICES = _choices()
_PHRASES = sorted((word for word in CHOICES if " " in word), key=len, reverse=True)
TOKEN = re.compile(rf"\b(?:{'|'.join(_PHRASES)})\b|[A-Za-z]+(?:'[a-z]+)?|\d{{2,}}")


def size_of(pool: Path | None) -> int:
    """Records of ``pool``, or of the demo corpus."""
    return pq.ParquetFile(pool).metadata.num_rows if pool else sum(1 for _ in demo.corpus())


def records(pool: Path | None, count: int) -> Iterator[Mapping[str, Any]]:
    """``count`` of ``pool``, which has the columns of `SCHEMA`, or of the demo corpus, in the same shape.

    They are evenly spread over it; all of them, where it has no more.
    """
    of, first = size_of(pool), 0
    for batch in _batches(pool):
        at = np.arange(first, first + len(batch))
        # Of `of` records those where a line from 0 to `count` reaches the next whole number.
        yield from batch.filter(pa.array((at + 1) * count // of > at * count // of)).to_pylist()
        first += len(batch)


def _batches(pool: Path | None) -> Iterator[pa.RecordBatch]:
    if pool is not None:
        yield from pq.ParquetFile(pool).iter_batches(BATCH, columns=SCHEMA.names[1:])
        return
    corpus = iter(demo.corpus())
    while some := list(islice(corpus, BATCH)):
        said = [(("human", record["prompt"]), ("gpt", record["response"])) for record in some]
        talks = [[{"from": who, "value": text} for who, text in talk] for talk in said]
        yield pa.RecordBatch.from_pydict({"source": [record["source"] for record in some], "conversations": talks})


def varied(pool: Path | None, rows: int, seed: int = 0, originals: int | None = None) -> Iterator[dict[str, Any]]:
    """``rows`` records: ``originals`` of ``pool`` (none: all), then variants of them, round by round."""
    base = partial(records, pool, size_of(pool) if originals is None else originals)
    vocabulary = long_words(message["value"] for record in islice(base(), BATCH) for message in record["conversations"])

    def rounds() -> Iterator[dict[str, Any]]:
        row = turn = 0
        while True:
            before = row
            for record in base():
                messages = (
                    record["conversations"] if turn == 0 else variant(record["conversations"], row, seed, vocabulary)
                )
                yield {"id": row, "source": record["source"], "conversations": messages}
                row += 1
            if row == before:
                raise ValueError(
                    f"originals must be at least 1 record of a pool, got none of {pool or 'the demo corpus'}"
                )
            turn += 1

    return islice(rounds(), rows)


def long_words(texts: Iterable[str]) -> dict[int, list[str]]:
    """Letters -> all words of small letters that have as many; of those that three texts hold."""
    counts = Counter(word for text in texts for word in set(re.findall(rf"\b[a-z]{{{LONG},}}\b", text)))
    found = defaultdict(list)
    for word in sorted(word for word, count in counts.items() if count > 2 and word not in CHOICES):
        found[len(word)].append(word)
    return found


def variant(
    messages: Iterable[Mapping[str, str]],
    row: int,
    seed: int = 0,
    vocabulary: Mapping[int, Sequence[str]] | None = None,
) -> list[dict[str, str]]:
    """``messages`` in other words, for row ``row``.

    >>> said = [{"from": "human", "value": "Tom has 12 big apples. How many may Anna buy? She needs them on Monday."}]
    >>> variant(said, 1000, seed=3)[0]["value"]
    'tom has 69 big apples.  How many can Mia buy?  She needs them on Monday. (1000)'
    """
    chance = Random(f"{seed} {row}")
    words = _Words(chance, chance.random(), vocabulary or {})
    changed = [{"from": message["from"], "value": words.of(message["value"])} for message in messages]
    if changed:
        changed[0]["value"] += f" ({row})"
    return changed


class _Words:
    """What one variant says instead of what; ``rate`` is the share of chances to change something that it takes."""

    def __init__(self, chance: Random, rate: float, vocabulary: Mapping[int, Sequence[str]]) -> None:
        self._chance = chance
        self._rate = rate
        self._vocabulary = vocabulary
        self._said: dict[str, str] = {}  # what stands for a word or number, in all of the sample
        self._shift = chance.randrange(1, 1000)  # of names, so that two never become one

    def of(self, text: str) -> str:
        text = TOKEN.sub(self._instead, text)
        paragraphs = text.split("\n\n")
        prose = [at for at, paragraph in enumerate(paragraphs) if PROSE.match(paragraph)]
        if len(prose) > 2 and self._happens():
            order = self._chance.sample(prose, len(prose))
            moved = {at: paragraphs[of] for at, of in zip(prose, order, strict=True)}
            paragraphs = [moved.get(at, paragraph) for at, paragraph in enumerate(paragraphs)]
        text = ("\n" if self._happens(0.3) else "\n\n").join(paragraphs)
        text = "\n".join(map(self._line, text.split("\n")))
        return text[:1].lower() + text[1:] if self._happens(0.3) else text

    def _instead(self, found: re.Match[str]) -> str:
        token = found[0]
        said = self._said.get(token)
        if said is None:
            said = self._said[token] = self._drawn(token)
        return said

    def _drawn(self, token: str) -> str:
        if token in CHOICES:
            forms, at = CHOICES[token]
            return forms[(at + self._shift) % len(forms)] if self._happens() else token
        if token.isdecimal() and self._happens():
            low = 10 ** (len(token) - 1)
            return str(self._chance.randrange(low, 10 * low))  # as long as it was
        if (
            len(token) >= LONG
            and (words := self._vocabulary.get(len(token)))
            and token.islower()
            and self._happens(0.5)
        ):
            return words[self._chance.randrange(len(words))]
        return token

    def _line(self, line: str) -> str:
        sentences = SENTENCE.split(line)
        if len(sentences) < 2:
            return line
        if self._happens():
            self._chance.shuffle(sentences)
        return ("  " if self._happens(0.3) else " ").join(sentences)

    def _happens(self, times: float = 1.0) -> bool:
        return self._chance.random() < times * self._rate


def write(path: Path, pool: Path | None, rows: int, seed: int = 0, originals: int | None = None) -> None:
    """A Parquet file of `SCHEMA`, whole or not at all."""
    made, unfinished = varied(pool, rows, seed, originals), path.with_suffix(".part")
    with pq.ParquetWriter(unfinished, SCHEMA, compression="zstd") as file:
        while batch := list(islice(made, BATCH)):
            file.write_table(pa.Table.from_pylist(batch, SCHEMA))
    unfinished.rename(path)


@click.command(help=__doc__)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("pool", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--rows", default=1_000_000, show_default=True, help="of OUT")
@click.option("--originals", type=click.IntRange(1), help="of OUT, the rest being variants  [default: all of POOL]")
@click.option("--seed", default=0, show_default=True)
def main(out: Path, pool: Path | None, rows: int, originals: int | None, seed: int) -> None:
    """Without POOL, the demo corpus."""
    write(out, pool, rows, seed, originals)


if __name__ == "__main__":
    main()
