"""A world of facts, data sets that tell them with known redundancy and consistency, and a tiny learner.

A data set is rows of statements ("the colour of apples is red"). Two numbers are known of it, as nowhere else:

* redundancy: the share of rows that are copies of others;
* consistency: the share of statements that are true; a false one says any other value, so that two seldom agree.

The learner is an n-gram model of words with Witten-Bell interpolation: it reads a set once, predicts each word before
it counts it, and is then examined on all facts. So it has what the entropy law speaks of: a first-epoch loss in nats
per token, and a score that falls with either fault. All of it is numpy; a version takes some 20 ms.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SUBJECTS, ASPECTS, VALUES = 40, 5, 40  # 200 facts; each is told some 10 times in `ROWS` rows
STATEMENTS = 4  # in a row
ROWS = 500
CONTEXT = 4  # words before a word that the learner looks at: all it takes to know which fact is told
# Subject and aspect are among the CONTEXT words before the value.
TEMPLATES = ("the {a} of {s} is {v}", "for {s} the {a} reads {v}", "in {s} one finds {a} {v}")


@dataclass(frozen=True)
class Recipe:
    """How a data set is made."""

    redundancy: float  # share of rows that are copies
    consistency: float  # share of statements that are true
    rows: int = ROWS


class World:
    """Words and facts, all from one seed."""

    def __init__(self, seed: int) -> None:
        self._draw = draw = random.Random(seed)
        words = _words(draw, SUBJECTS + ASPECTS + VALUES)
        self.subjects = words[:SUBJECTS]
        self.aspects = words[SUBJECTS : SUBJECTS + ASPECTS]
        self.values = words[SUBJECTS + ASPECTS :]
        self.facts = {(s, a): draw.choice(self.values) for s in self.subjects for a in self.aspects}

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        frames = " ".join(TEMPLATES).format(a="", s="", v="").split()
        words = dict.fromkeys([*self.subjects, *self.aspects, *self.values, *frames, "."])
        return {word: number for number, word in enumerate(words, 1)}

    def texts(self, recipe: Recipe, seed: int) -> list[str]:
        """A data set, in the order it is trained on."""
        draw = random.Random(f"{seed} {recipe}")
        copies = round(recipe.redundancy * recipe.rows)
        rows = [self._row(recipe.consistency, draw) for _ in range(recipe.rows - copies)]
        rows += draw.choices(rows, k=copies)
        draw.shuffle(rows)
        return rows

    def _row(self, consistency: float, draw: random.Random) -> str:
        told = []
        for _ in range(STATEMENTS):
            fact = draw.choice(self.subjects), draw.choice(self.aspects)
            value = self.facts[fact]
            if draw.random() >= consistency:
                value = draw.choice([other for other in self.values if other != value])
            told.append(draw.choice(TEMPLATES).format(s=fact[0], a=fact[1], v=value))
        return " . ".join(told) + " ."

    def tokens(self, texts: list[str]) -> Ints:
        return np.array([self.vocabulary[word] for text in texts for word in text.split()], dtype=np.int64)

    @cached_property
    def exam(self) -> Ints:
        """(questions, CONTEXT + 1): what comes before an answer, and the answer; every fact in every form."""
        forms = [form.format(s=s, a=a, v=v) for (s, a), v in self.facts.items() for form in TEMPLATES]
        return np.array([[self.vocabulary[word] for word in form.split()[-CONTEXT - 1 :]] for form in forms])


@dataclass(frozen=True)
class Learned:
    losses: Floats  # (tokens,) nats, each token predicted from those before it
    score: float  # 0 to 100: probability of the right answer, in the mean over the exam

    @property
    def loss(self) -> float:
        """L: the mean over the first epoch."""
        return float(self.losses.mean())


def learn(world: World, texts: list[str]) -> Learned:
    """Read ``texts`` once, then sit the exam."""
    tokens = world.tokens(texts)
    words = len(world.vocabulary) + 1
    rows = np.lib.stride_tricks.sliding_window_view(np.concatenate([np.zeros(CONTEXT, np.int64), tokens]), CONTEXT + 1)
    seen = np.full(len(tokens), 1 / words)
    answered = np.full(len(world.exam), 1 / words)
    for order in range(CONTEXT + 1):
        contexts, pairs = _keys(rows, order)
        ones = np.ones(len(tokens), np.int64)
        (times,) = _sums_before(pairs, ones)
        # Of the context: how often it has come, and how many different words have followed.
        before, kinds = _sums_before(contexts, ones, (times == 0).astype(np.int64))
        seen = _interpolated(times, before, kinds, seen)
        asked, wanted = _keys(world.exam, order)
        kinds_at_end = _counts(contexts[times == 0], asked)
        answered = _interpolated(_counts(pairs, wanted), _counts(contexts, asked), kinds_at_end, answered)
    return Learned(-np.log(seen), float(100 * answered.mean()))


def _interpolated(times: Ints, before: Ints, kinds: Ints, shorter: Floats) -> Floats:
    """Witten-Bell: a context that was followed by many different words says less than the shorter one."""
    return np.where(before > 0, (times + kinds * shorter) / np.maximum(before + kinds, 1), shorter)


def _keys(rows: Ints, order: int) -> tuple[Ints, Ints]:
    """(n,) a number for each row's last ``order`` words before its last one, and for them with the last one."""
    contexts = np.zeros(len(rows), dtype=np.int64)
    for column in range(rows.shape[1] - 1 - order, rows.shape[1] - 1):
        contexts = contexts * 1021 + rows[:, column]  # more than there are words, so that no two rows share a number
    return contexts, contexts * 1021 + rows[:, -1]


def _sums_before(keys: Ints, *numbers: Ints) -> list[Ints]:
    """Of each of ``numbers``, (n,) their sum over the places before each place that have the same key."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    run = np.cumsum(first) - 1
    found = []
    for values in numbers:
        sums = np.cumsum(values[order]) - values[order]
        result = np.empty(len(keys), dtype=np.int64)
        result[order] = sums - sums[first][run]
        found.append(result)
    return found


def _counts(keys: Ints, asked: Ints) -> Ints:
    """(m,) how many ``keys`` are each of those ``asked``."""
    ordered = np.sort(keys)
    return np.searchsorted(ordered, asked, "right") - np.searchsorted(ordered, asked, "left")


def _words(draw: random.Random, count: int) -> list[str]:
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(4, 9)))] = None
    return list(words)
