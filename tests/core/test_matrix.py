"""The redundancy matrix: what is compared, in equal bytes, and the order that follows from it."""

from __future__ import annotations

import io
import json
import random
import sys
from itertools import permutations

import numpy as np
import pytest
from rich.console import Console

from zipspark.core.matrix import FEWEST_BYTES, SAMPLE_BYTES, SHOWN, Matrix, measure, sides
from zipspark.errors import InputError, UsageError

LIMIT = 48 * 2**10


def prose(words: list[str], count: int, seed: int) -> list[bytes]:
    """Samples that draw their sentences from a stock of 200."""
    draw = random.Random(seed)
    stock = [" ".join(draw.choices(words, k=8)).encode() for _ in range(200)]
    return [b". ".join(draw.sample(stock, 6)) + b" %d" % number for number in range(count)]


def words(seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 9))) for _ in range(400)]


@pytest.fixture(scope="module")
def pool() -> dict[str, list[bytes]]:
    ours, theirs = prose(words(1), 900, 1), prose(words(2), 300, 2)
    noise = random.Random(3)
    return {
        "large": ours[:600],
        "like it": ours[600:],  # the same stock of sentences
        "other": theirs,
        "both": [one + b" " + other for one, other in zip(prose(words(1), 300, 1), theirs[::-1], strict=False)],
        "noise": [noise.randbytes(500) for _ in range(300)],
    }


@pytest.fixture(scope="module")
def found(pool) -> Matrix:
    return measure(pool, LIMIT)


def entry(found: Matrix, a: str, b: str) -> float:
    return float(found.values[found.groups.index(a), found.groups.index(b)])


def test_what_shares_text_compresses_and_what_does_not_saves_nothing(found):
    assert entry(found, "large", "like it") < 0.5 * entry(found, "other", "like it")
    assert entry(found, "both", "other") < 0.5 * entry(found, "large", "other")
    alone = dict(zip(found.groups, found.alone, strict=True))
    assert entry(found, "noise", "other") > 0.95 * alone["other"]
    assert (found.values <= found.alone + 1e-12).all()


def test_the_diagonal_is_measured_on_other_samples(found):
    """A source of random bytes would be told by its own context if it held the samples that are sized."""
    assert entry(found, "noise", "noise") > 0.99
    assert entry(found, "large", "large") == pytest.approx(entry(found, "large", "like it"), rel=0.1)


def test_a_large_source_does_not_look_better_for_its_size(pool, found):
    assert len(set(found.bytes)) == 1
    assert found.groups[0] == "large"
    assert entry(found, "large", "like it") == pytest.approx(entry(found, "like it", "like it"), rel=0.1)
    three_times = measure(pool | {"large": prose(words(1), 3000, 1)}, LIMIT)
    assert entry(three_times, "large", "like it") == pytest.approx(entry(found, "large", "like it"), rel=0.1)


def test_sides_share_no_sample_and_have_equal_bytes(pool):
    prepared = sides(pool, LIMIT)
    assert {len(context) for context in prepared.contexts} == {LIMIT}
    assert {sum(map(len, test)) for test in prepared.tests} == {LIMIT}
    for context, test in zip(prepared.contexts, prepared.tests, strict=True):
        assert not any(sample in context for sample in test[:-1])  # the last may be cut to a few bytes


def test_one_long_document_is_not_all_of_its_source():
    noise = random.Random(0)
    long = [noise.randbytes(4 * SAMPLE_BYTES), *(noise.randbytes(SAMPLE_BYTES // 2) for _ in range(40))]
    prepared = sides({"books": long, "other": long[1:]}, limit=8 * SAMPLE_BYTES)
    context = prepared.contexts[prepared.groups.index("books")]
    assert long[0][:SAMPLE_BYTES] in context
    assert long[0][: SAMPLE_BYTES + 1] not in context


def test_a_small_source_sets_no_size_for_others_and_is_marked(pool):
    found = measure(pool | {"tiny": pool["large"][:4]}, LIMIT)
    assert found.small == ("tiny",)
    assert max(found.bytes) == LIMIT > FEWEST_BYTES
    assert any("tiny" in note for note in found.notes())


def test_a_group_of_a_single_text_is_left_out_and_named(pool):
    found = measure({"single": [b"once"] * 9, "other": pool["other"], "noise": pool["noise"]}, LIMIT)
    assert (found.groups, found.left_out) == (("noise", "other"), ("single",))
    assert any("single" in note for note in found.notes())


def test_order_of_the_samples_and_groups_changes_nothing(pool, found):
    again = measure({name: pool[name][::-1] for name in reversed(pool)}, LIMIT)
    assert again.groups == found.groups
    assert np.array_equal(again.values, found.values)


@pytest.mark.parametrize("groups", [{}, {"one": [b"a", b"b"]}, {"one": [b"a", b"b"], "same": [b"a", b"a"]}])
def test_fewer_than_two_groups_are_refused(groups):
    with pytest.raises(InputError, match="at least 2 groups"):
        measure(groups)


def hand_made(values: list[list[float]], alone: float = 0.9, names: str = "abcdefgh") -> Matrix:
    count = len(values)
    return Matrix(tuple(names[:count]), np.array(values), np.full(count, alone), (9,) * count, (9,) * count)


def test_order_places_first_what_helps_the_rest_most():
    # b says most of all others; then c says more of a than a of c.
    found = hand_made([[0.3, 0.9, 0.8], [0.6, 0.3, 0.6], [0.5, 0.9, 0.3]])
    assert found.order() == ["b", "c", "a"]


def test_order_counts_only_what_is_not_said_already():
    # b and c say the same of d and e; d says nothing of those, but something new of c: so it comes before c.
    rows = {"a": 0.9, "b": 0.2, "c": 0.2, "d": 0.9, "e": 0.9}
    values = [[0.9] * 5 for _ in rows]
    for a in (1, 2):
        values[a][3] = values[a][4] = 0.2
    values[3][0] = 0.5
    assert hand_made(values).order() == ["b", "d", "a", "c", "e"]


def test_order_breaks_ties_by_name_and_does_not_depend_on_the_groups_order():
    noise = random.Random(5)
    values = np.array([[noise.choice([0.3, 0.6]) for _ in range(4)] for _ in range(4)])
    expected = hand_made(values.tolist()).order()
    for order in permutations(range(4)):
        shuffled = values[np.ix_(order, order)].tolist()
        assert hand_made(shuffled, names="".join("abcd"[at] for at in order)).order() == expected
    assert hand_made([[0.5] * 3] * 3).order() == ["a", "b", "c"]


def shown(found: Matrix) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(found)
    return console.export_text()


def test_table_shows_every_entry_or_the_largest_groups_and_says_so(found):
    text = shown(found)
    assert all(f"{value:.3f}" in text for value in found.values.ravel())
    count = 57
    many = Matrix(
        tuple(f"[group] {number}" for number in range(count)),
        np.linspace(0.1, 0.9, count * count).reshape(count, count),
        np.full(count, 0.95),
        (9,) * count,
        tuple(range(count, 0, -1)),
    )
    text = shown(many)
    assert f"the largest {SHOWN} of 57 groups" in text
    assert "[group] 39" in text
    assert "[group] 41" not in text.split("row:")[0]


def test_machine_readable_forms_hold_all_entries(found):
    made = json.loads(json.dumps(found.to_dict()))
    assert made["values"] == found.values.tolist()
    assert made["order"] == found.order()
    cells = {(cell["a"], cell["b"]): cell["conditional"] for cell in found.cells()}
    assert len(cells) == 25
    assert cells["large", "other"] == entry(found, "large", "other")


def test_picture_has_readable_names_and_numbers(found):
    pytest.importorskip("matplotlib")
    long = Matrix(("x" * 80, *found.groups[1:]), found.values, found.alone, found.bytes, found.totals)
    axes, colorbar = long.figure().axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert sorted(labels) == sorted(["x" * 27 + "…", *found.groups[1:]])
    assert axes.get_yticklabels()[0].get_text() == "(nothing)"
    assert len(axes.texts) == 30
    assert "lower" in colorbar.get_ylabel()


def test_without_matplotlib_the_picture_says_what_to_do(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"pip install 'zipspark\[plots\]'"):
        found.figure()
