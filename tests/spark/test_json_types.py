"""Types of JSON columns lose nothing of the values they were found on."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zipspark.spark.json_types import arrow_type, fitted, merge, merge_all, type_of

ATOMS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=3)
VALUES = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "A", "b", ""]), inner)
)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "null"),
        ([None, None], "null"),
        ([True, None], "bool"),
        ([True, 1], "json"),
        ([1, 2**53], "int"),
        ([1, 2**53 + 1], "long"),
        ([1, 2**63], "json"),
        ([1, 0.5], "double"),
        ([2**53 + 1, 0.5], "json"),
        (["1", 1], "json"),
        (["a", ["a"]], "json"),
        ([[], [1], [None, 0.5]], {"list": "double"}),
        ([{"a": 1}, {"b": "x"}, None], {"struct": {"a": "int", "b": "string"}}),
        ([{"a": 1}, {}], "json"),
        ([{"a": 1}, {"A": 1}], "json"),
        ([{"": 1}], "json"),
        ([{str(key): 1 for key in range(201)}], "json"),
        ([{str(key): 1 for key in range(150)}, {str(key): 1 for key in range(100, 250)}], "json"),
    ],
)
def test_types(values, expected):
    assert merge_all(map(type_of, values)) == expected


@settings(deadline=None)
@given(st.lists(VALUES, max_size=4))
def test_order_and_grouping_do_not_matter(values):
    types = [type_of(value) for value in values]
    merged = merge_all(types)
    assert merged == merge_all(reversed(types)) == merge(merge_all(types[:2]), merge_all(types[2:]))
    assert json.loads(json.dumps(merged)) == merged


@settings(deadline=None)
@given(st.lists(VALUES, max_size=4))
def test_nothing_is_lost(values):
    kind = merge_all(map(type_of, values))
    column = pa.array([fitted(value, kind) for value in values], arrow_type(kind)).to_pylist()
    for value, found in zip(values, column, strict=True):
        assert same(value, found, kind)


def same(value: object, found: object, kind: object) -> bool:
    if value is None:
        return found is None
    if kind == "json":
        return json.loads(found) == value and type(json.loads(found)) is type(value)
    if isinstance(kind, dict) and "list" in kind:
        return len(value) == len(found) and all(same(*pair, kind["list"]) for pair in zip(value, found, strict=True))
    if isinstance(kind, dict):
        return all(same(value.get(key), found[key], inner) for key, inner in kind["struct"].items())
    return found == value and (isinstance(found, float) or type(found) is type(value))


def test_a_value_of_another_type_is_refused():
    with pytest.raises(ValueError, match="expected int got str"):
        fitted("1", "int")
    with pytest.raises(ValueError, match="expected list got dict"):
        fitted({}, {"list": "int"})
    assert fitted({"a": 1, "b": 2}, {"struct": {"a": "int", "c": "string"}}) == {"a": 1, "c": None}
