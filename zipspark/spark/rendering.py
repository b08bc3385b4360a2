"""The table in `zipspark.core.rendering`, said again in Spark SQL: text without a Python worker.

A table's types are fixed by its schema, so a wrong type is found before a row is read, by `kinds_of` and
`zipspark.core.rendering.detect_layout`. Nulls, invalid UTF-8 and empty texts are found row by row::

    layout = detect_layout(kinds_of(df.schema), schema, roles)
    df = df.withColumn("text", text_column(df.schema, layout))
    df = df.withColumn("problem", problem_column(F.col("text"), layout))
"""

from __future__ import annotations

import re
from typing import cast

import pyspark.sql.functions as F
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    IntegerType,
    NullType,
    StringType,
    StructType,
)

from zipspark.core.rendering import MESSAGE_FORMS, Field, Kind, Layout
from zipspark.errors import InputError, UsageError

_WHITESPACE = " \t\n\r\x0b\x0c"  # what bytes.isspace() takes for it


def kinds_of(schema: StructType) -> dict[str, Kind]:
    """The kind of each column, for `detect_layout`.

    Arrays of structs are ``messages`` only when their contents and tool calls have types that can be read.

    >>> kinds_of(StructType().add("id", "long").add("text", "string"))
    {'id': 'other', 'text': 'string'}
    """
    return {field.name: _kind_of(field.dataType) for field in schema.fields}


def text_column(schema: StructType, layout: Layout) -> Column:
    """The text of a row, a string; it means nothing where `problem_column` finds a problem.

    ``schema`` is that of the table. Raises `UsageError` for the layout ``reference``: a Python ``repr`` has no SQL
    form, so `zipspark.core.rendering.layout_renderer` has to render the row as a dict.

    >>> df.withColumn("text", text_column(df.schema, detect_layout(kinds_of(df.schema))))  # doctest: +SKIP
    DataFrame[instruction: string, output: string, text: string]
    """
    if layout.schema == "reference":
        raise UsageError("schema reference has no SQL form: it is the repr of a record, to be rendered in Python")
    if layout.schema == "text":
        return _column(layout.fields[0]).cast("string")
    if layout.schema == "preference":
        return _preference(schema, layout)
    return F.array_join(F.concat(*(_pieces(field, schema, layout.roles) for field in layout.fields)), "\n")


def problem_column(text: Column, layout: Layout | None = None) -> Column:
    """Why a row has no text, as a code of `zipspark.core.rendering`; null where it has one.

    ``text`` holds what `text_column` gave; as a column of the table it is computed once for all checks. Without a
    layout it is what the user's ``--text-expr`` gave, whose null is ``null:text``.

    >>> df.select(problem_column(F.col("text"), layout).alias("problem"))  # doctest: +SKIP
    DataFrame[problem: string]
    """
    required = [field for field in layout.fields if field.required] if layout else []
    nulls = [(_column(field).isNull(), f"null:{field.column}") for field in required] or [(text.isNull(), "null:text")]
    # Splitting a preference into lines repairs what is no UTF-8: its columns are checked too, as they are.
    sources = required if layout and layout.schema == "preference" and required[0].kind == "string" else []
    invalid = [(~F.is_valid_utf8(column), "utf8") for column in (text, *map(_column, sources))]
    empty = [(F.ltrim(text, F.lit(_WHITESPACE)) == "", "empty")]
    return F.coalesce(*(F.when(fails, code) for fails, code in nulls + invalid + empty))


def expression_column(df: DataFrame, sql: str) -> Column:
    """The user's ``--text-expr``, checked against the columns of ``df``.

    Raises `InputError` with Spark's own short message when it cannot be parsed or resolved, and when it gives anything
    but one string for each row.

    >>> expression_column(df, "concat(title, body)")  # doctest: +SKIP
    Column<'concat(title, body)'>
    """
    return _checked(df, "text-expr", sql, StringType, "string")


def condition_column(df: DataFrame, sql: str) -> Column:
    """The user's ``--where``, checked in the same way: true for the rows that meet it, otherwise false, never null.

    >>> condition_column(df, "stars >= 3")  # doctest: +SKIP
    Column<'coalesce((stars >= 3), false)'>
    """
    return F.coalesce(_checked(df, "where", sql, BooleanType, "boolean"), F.lit(False))


def _checked(df: DataFrame, option: str, sql: str, wanted: type[DataType], name: str) -> Column:
    """``sql`` as a column, once it is known to give one value of type ``wanted`` for each row of ``df``."""
    try:
        # Within a struct Spark refuses what makes rows of its own (explode), and * shows that it is several columns.
        found = cast(StructType, df.select("*", F.struct(F.expr(sql))).schema.fields[-1].dataType)
    except AnalysisException as error:
        first = next(line for line in str(error).splitlines() if line)
        reason = re.sub(r" SQLSTATE: \w+", "", first).rstrip(";")
        raise InputError(f"{option} {sql!r} cannot be used: {reason}") from None
    types = [field.dataType for field in found.fields]
    if len(types) != 1 or not isinstance(types[0], wanted):
        given = ", ".join(kind.simpleString() for kind in types)
        raise InputError(f"{option} must give one {name}, got {given} from {sql!r}")
    return F.expr(sql)


def _column(field: Field) -> Column:
    return F.col(f"`{field.column.replace('`', '``')}`")


def _pieces(field: Field, schema: StructType, roles: tuple[str, ...] | None) -> Column:
    """What a column gives, array<string>: one text per message, or the string itself; no nulls, no empty texts."""
    if field.column not in schema.names:
        return _none()
    column = _column(field)
    if field.kind != "messages":
        return F.array_remove(F.array(F.coalesce(column.cast("string"), F.lit(""))), "")
    message = cast(StructType, cast(ArrayType, schema[field.column].dataType).elementType)
    if roles is not None:
        column = F.filter(column, lambda one: _first(one, message, "role", "from").isin(*roles))
    texts = F.transform(column, lambda one: F.coalesce(_message(one, message), F.lit("")))
    return F.coalesce(F.array_remove(texts, ""), _none())


def _message(one: Column, type_: StructType) -> Column:
    content = _first(one, type_, "content", "value")
    arguments = _argument_type(type_)
    if isinstance(arguments, NullType):
        return content
    calls = one["tool_calls"]["function"]["arguments"]
    if not isinstance(arguments, StringType):
        calls = F.transform(calls, _json)
    return F.concat_ws("\n", F.nullif(content, F.lit("")), F.array_remove(calls, ""))


def _json(value: Column) -> Column:
    # to_json repairs what is no UTF-8, a plain cast leaves it for `problem_column` to find.
    plain = value.cast("string")
    return F.when(F.is_valid_utf8(plain), F.to_json(value, {"ignoreNullFields": "true"})).otherwise(plain)


def _first(one: Column, type_: StructType, *names: str) -> Column:
    """The first of these fields that is there and not null, as a string."""
    return F.coalesce(*(_text(one[name], type_[name].dataType) for name in names if name in type_.names))


def _text(value: Column, type_: DataType) -> Column:
    """A content, be it a string or a list of parts."""
    if isinstance(type_, ArrayType):
        return F.array_join(F.array_remove(value["text"], ""), "\n")
    return value.cast("string")


def _preference(schema: StructType, layout: Layout) -> Column:
    """Prompt, chosen and what is new in rejected: note (2) of `zipspark.core.rendering`."""
    prompt, *sides = [_pieces(field, schema, layout.roles) for field in layout.fields]
    by_line = layout.fields[-1].kind == "string"
    if by_line:
        sides = [_column(field) for field in layout.fields[1:]]
    if layout.fields[0].column in schema.names:
        sides = [_behind_string(prompt, side) if by_line else _behind_messages(prompt, side) for side in sides]
    if by_line:
        sides = [F.split(side, "\n") for side in sides]
    # Each use of a side would split it anew. SQL has no local names but those of a lambda, so one over an array of one.
    pair = F.struct(sides[0].alias("chosen"), sides[1].alias("rejected"))
    return F.transform(F.array(pair), lambda one: _shared_once(prompt, one["chosen"], one["rejected"]))[0]


def _behind_string(prompt: Column, side: Column) -> Column:
    asked = F.array_join(prompt, "\n")
    return F.when(F.startswith(side, asked), side.substr(F.length(asked) + 1, F.length(side))).otherwise(side)


def _behind_messages(prompt: Column, side: Column) -> Column:
    n = F.size(prompt)
    return F.when(F.slice(side, 1, n) == prompt, F.slice(side, n + 1, F.size(side))).otherwise(side)


def _shared_once(prompt: Column, chosen: Column, rejected: Column) -> Column:
    same = F.zip_with(chosen, rejected, lambda ours, theirs: ours.eqNullSafe(theirs))
    new = F.array_position(F.array_append(same, F.lit(False)), False).cast("int")  # of the first that differs, from 1
    blocks = [prompt, chosen, F.slice(rejected, new, F.size(rejected))]
    return F.array_join(F.array_remove(F.array(*(F.array_join(block, "\n") for block in blocks)), ""), "\n")


def _none() -> Column:
    return F.array().cast("array<string>")


def _kind_of(type_: DataType) -> Kind:
    if isinstance(type_, StringType):
        return "string"
    if isinstance(type_, BinaryType):
        return "bytes"
    if isinstance(type_, NullType):
        return "null"
    if not (isinstance(type_, ArrayType) and isinstance(type_.elementType, StructType)):
        return "other"
    message = type_.elementType
    readable = (
        any(form <= set(message.names) for form in MESSAGE_FORMS)
        and all(_is_content(_inner(message, name)) for name in ("content", "value"))
        and isinstance(_argument_type(message), (NullType, StringType, StructType, ArrayType))
    )
    return "messages" if readable else "other"


def _is_content(type_: DataType | None) -> bool:
    parts = isinstance(type_, ArrayType) and isinstance(_inner(type_.elementType, "text"), StringType)
    return parts or isinstance(type_, (StringType, NullType))


def _argument_type(message: StructType) -> DataType | None:
    """The type of ``tool_calls[].function.arguments``: null where there are none, None where they cannot be read."""
    calls = _inner(message, "tool_calls")
    call = calls.elementType if isinstance(calls, ArrayType) else calls
    if isinstance(call, (NullType, IntegerType)):  # pyarrow writes nothing but nulls as a type that Spark takes for int
        return NullType()
    return _inner(_inner(call, "function"), "arguments") if isinstance(calls, ArrayType) else None


def _inner(type_: DataType | None, name: str) -> DataType | None:
    """The type of a field: null where it is absent, None where ``type_`` is nothing that has fields."""
    if isinstance(type_, StructType):
        return type_[name].dataType if name in type_.names else NullType()
    return type_ if isinstance(type_, NullType) else None
