"""The type of a column of JSON values, found so that writing them as a table loses nothing.

======================  ============================================================================
type                    values
======================  ============================================================================
``null``                none but null (a string column, in the end)
``bool`` ``string``     true and false; strings
``int``                 whole numbers up to 2^53: a double holds them too
``long``                whole numbers of 64 bits
``double``              numbers
``json``                whatever else: the JSON text of the value
``{"list": type}``      arrays
``{"struct": {..}}``    objects, type by key
======================  ============================================================================

Types are JSON themselves, so that executors can send them to the driver. `merge` is commutative and associative but for
the order of keys: first come.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from functools import reduce
from typing import Any

import pyarrow as pa

_MOST_KEYS = 200  # an object with more is a map in disguise: as columns it would be wide and empty
_ATOMS = {
    "null": pa.string(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "int": pa.int64(),
    "long": pa.int64(),
    "double": pa.float64(),
    "json": pa.string(),
}
_WIDER = {frozenset(("int", "long")): "long", frozenset(("int", "double")): "double"}

JsonType = Any  # a string, {"list": JsonType} or {"struct": {key: JsonType}}


def type_of(value: object) -> JsonType:
    """The narrowest type that holds a parsed JSON value.

    >>> type_of({"a": [1, 2.5], "b": None})
    {'struct': {'a': {'list': 'double'}, 'b': 'null'}}
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "int" if abs(value) <= 2**53 else "long" if -(2**63) <= value < 2**63 else "json"
    if isinstance(value, float):
        return "double"
    if isinstance(value, list):
        return {"list": merge_all(map(type_of, value))}
    assert isinstance(value, dict)
    return _struct({key: type_of(item) for key, item in value.items()})


def merge(one: JsonType, other: JsonType) -> JsonType:
    """The narrowest type that holds the values of both."""
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        if "list" in one:
            return {"list": merge(one["list"], other["list"])}
        return _struct(merge_columns(one["struct"], other["struct"]))
    if isinstance(one, str) and isinstance(other, str):
        return _WIDER.get(frozenset((one, other)), "json")
    return "json"


def merge_columns(one: dict[str, JsonType], other: dict[str, JsonType]) -> dict[str, JsonType]:
    """The same for the columns of a table: type by name."""
    return one | {key: merge(one.get(key, "null"), kind) for key, kind in other.items()}


def merge_all(types: Iterable[JsonType]) -> JsonType:
    return reduce(merge, types, "null")


def can_be_columns(names: Collection[str]) -> bool:
    """Whether a table can have these names: none empty, no half surrogate pairs, no two that differ in case alone."""
    return all(names) and len({name.lower() for name in names}) == len(names) and all(_utf8(n) == n for n in names)


def fitted(value: object, kind: JsonType) -> object:
    """``value`` as a column of type ``kind`` holds it, without keys that ``kind`` does not know.

    Raises ValueError when it is of another type.
    """
    if value is None:
        return None
    if kind == "json":
        return _utf8(json.dumps(value, ensure_ascii=False))
    if isinstance(kind, dict):
        if "list" in kind and isinstance(value, list):
            return [fitted(item, kind["list"]) for item in value]
        if "struct" in kind and isinstance(value, dict):
            return {key: fitted(value.get(key), inner) for key, inner in kind["struct"].items()}
    elif merge(type_of(value), kind) == kind:
        return _utf8(value) if isinstance(value, str) else value
    raise ValueError(f"expected {kind if isinstance(kind, str) else next(iter(kind))} got {type(value).__name__}")


def arrow_type(kind: JsonType) -> pa.DataType:
    """What a column of type ``kind`` is in a table."""
    if isinstance(kind, str):
        return _ATOMS[kind]
    if "list" in kind:
        return pa.list_(arrow_type(kind["list"]))
    return pa.struct([(key, arrow_type(inner)) for key, inner in kind["struct"].items()])


def _utf8(text: str) -> str:
    """``text`` with half surrogate pairs, which UTF-8 does not have, as the escapes that they are in JSON."""
    return text.encode(errors="backslashreplace").decode()


def _struct(fields: dict[str, JsonType]) -> JsonType:
    return {"struct": fields} if 0 < len(fields) <= _MOST_KEYS and can_be_columns(fields) else "json"
