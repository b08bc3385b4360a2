"""Spark SQL renders a table exactly as Python renders its records, problems included."""

from __future__ import annotations

import random
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pyspark.sql.functions as F
import pytest
from pyspark.sql.types import StructType

from zipspark.core.rendering import RenderError, detect_layout, kinds_of_records, layout_renderer
from zipspark.errors import InputError, UsageError
from zipspark.spark.rendering import expression_column, kinds_of, problem_column, text_column

ROLES = ["user", "assistant", "human", "gpt", "system", "tool"]
NASTY = [
    "",
    " \n\t",
    "\n",
    "plain",
    "plain\n",
    "plain\nsecond \"line\" 'here'",
    "plain\n\n\r\nlast \\n",
    "😀",
    "😀 astral\n\U0001f600",
    "😀 astral\n\U0001f601",  # shares with the one above half of a UTF-16 pair, and three bytes of four
    "e\u0301 is not é",
    "\x00\x7f",
    "\u00a0\u2028",  # blank to str.strip and no empty text
    "lone \ud83d",
    "plain\nlone \ud83d",
]


def struct(**types: pa.DataType) -> pa.DataType:
    return pa.struct(list(types.items()))


def chat(content: pa.DataType, **more: pa.DataType) -> pa.DataType:
    return pa.list_(struct(role=pa.string(), content=content, **more))


def calls(arguments: pa.DataType) -> pa.DataType:
    return pa.list_(struct(id=pa.string(), function=struct(name=pa.string(), arguments=arguments)))


S = pa.string()
SHAREGPT = pa.list_(pa.struct([("from", S), ("value", S)]))
BOTH = pa.list_(pa.struct([("from", S), ("role", S), ("value", S), ("content", S)]))
PARTS = pa.list_(struct(type=S, text=S, image_url=struct(url=S)))
DEEP = struct(city=S, days=pa.int64(), deep=struct(on=pa.bool_(), of=pa.list_(S)))

CASES: dict[str, tuple[dict[str, pa.DataType], list[str] | None]] = {
    "text": ({"id": pa.int64(), "text": S}, None),
    "text under another name": ({"a `b`.c": S}, None),
    "text in bytes": ({"text": pa.binary(), "source": S}, None),
    "sharegpt": ({"conversations": SHAREGPT, "source": S}, None),
    "sharegpt, one role": ({"conversations": SHAREGPT}, ["assistant"]),
    "messages": ({"messages": chat(S)}, None),
    "messages, some roles": ({"messages": chat(S)}, ["human", "system"]),
    "messages in both forms": ({"messages": BOTH}, ["user"]),
    "messages of parts": ({"messages": chat(PARTS)}, None),
    "messages with tools": ({"messages": chat(S, tool_calls=calls(S))}, None),
    "messages with tools, objects": ({"messages": chat(PARTS, tool_calls=calls(DEEP))}, ["gpt", "tool"]),
    "messages with tools, lists": ({"messages": chat(S, tool_calls=calls(pa.list_(S)))}, None),
    "messages with tools, none": ({"messages": chat(S, tool_calls=pa.null())}, None),
    "alpaca": ({"instruction": S, "input": S, "output": S}, None),
    "alpaca without input": ({"output": S, "instruction": S}, None),
    "prompt-response": ({"prompt": S, "response": S}, None),
    "prompt of messages, completion": ({"prompt": chat(S), "completion": S}, ["user"]),
    "preference": ({"prompt": S, "chosen": S, "rejected": S}, None),
    "preference without prompt": ({"chosen": S, "rejected": S}, None),
    "preference, messages": ({"chosen": chat(S), "rejected": SHAREGPT}, None),
    "preference, messages, prompt": ({"prompt": S, "chosen": chat(S), "rejected": chat(S)}, None),
    "preference, messages, messages": ({"prompt": chat(S), "chosen": chat(S), "rejected": chat(S)}, ["user"]),
    "preference, prompt of messages": ({"prompt": chat(S), "chosen": S, "rejected": S}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_sql_and_python_render_the_same(spark, tmp_path, case):
    types, roles = CASES[case]
    rng = random.Random(case)
    records = [record(rng, types) for _ in range(400)]
    frame = spark.read.parquet(write_table(records, types, tmp_path))
    layout = detect_layout(kinds_of(frame.drop("position").schema), roles=roles)
    assert detect_layout(kinds_of_records(records), roles=roles) == layout

    expected = [outcome(layout_renderer(layout), one) for one in records]
    frame = frame.withColumn("text", text_column(frame.schema, layout))
    frame = frame.withColumn("problem", problem_column(F.col("text"), layout))
    found = frame.orderBy("position").select(F.col("text").cast("binary").alias("text"), "problem").toArrow()
    assert [row["problem"] or row["text"] for row in found.to_pylist()] == expected

    seen = Counter(result if isinstance(result, str) else "text" for result in expected)
    assert seen["text"] > 50  # neither way got away with failing
    assert seen["utf8"]
    assert seen["empty"]
    assert {f"null:{field.column}" for field in layout.fields if field.required} <= set(seen)


def record(rng: random.Random, types: dict[str, pa.DataType]) -> dict[str, object]:
    """A random record; its strings come from so few that starts are often shared."""
    pool = rng.sample(NASTY, 4)
    return {name: value(rng, name, type_, pool) for name, type_ in types.items()}


def value(rng: random.Random, name: str, type_: pa.DataType, pool: list[str]) -> object:
    if pa.types.is_null(type_) or rng.random() < 0.08:
        return None
    if pa.types.is_struct(type_):
        return {inner.name: value(rng, inner.name, inner.type, pool) for inner in type_}
    if pa.types.is_list(type_):
        return [value(rng, name, type_.value_type, pool) for _ in range(rng.randrange(4))]
    if pa.types.is_integer(type_):
        return rng.randrange(-9, 9)
    if pa.types.is_boolean(type_):
        return rng.random() < 0.5
    text = rng.choice(ROLES if name in ("role", "from") else pool)
    return text.encode(errors="surrogatepass") if pa.types.is_binary(type_) else text


def outcome(render, one: dict[str, object]) -> bytes | str:
    try:
        return render(one)
    except RenderError as error:
        return error.reason


def write_table(records: list[dict[str, object]], types: dict[str, pa.DataType], folder) -> str:
    """Parquet whose strings may be no UTF-8, as lone surrogates are not: Arrow takes them in as binary."""
    raw = pa.schema([(name, in_bytes(type_)) for name, type_ in types.items()])
    rows = [{name: encoded(item) for name, item in one.items()} for one in records]
    table = pa.Table.from_pylist(rows, raw).cast(pa.schema(list(types.items())), safe=False)
    pq.write_table(table.append_column("position", pa.array(range(len(rows)))), folder / "pool.parquet")
    return str(folder / "pool.parquet")


def in_bytes(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(type_):
        return pa.struct([(inner.name, in_bytes(inner.type)) for inner in type_])
    if pa.types.is_list(type_):
        return pa.list_(in_bytes(type_.value_type))
    return pa.binary() if pa.types.is_string(type_) else type_


def encoded(item: object) -> object:
    if isinstance(item, dict):
        return {name: encoded(inner) for name, inner in item.items()}
    if isinstance(item, list):
        return [encoded(inner) for inner in item]
    return item.encode(errors="surrogatepass") if isinstance(item, str) else item


@pytest.mark.parametrize(
    ("ddl", "kind"),
    [
        ("string", "string"),
        ("binary", "bytes"),
        ("void", "null"),
        ("int", "other"),
        ("array<string>", "other"),
        ("struct<role: string, content: string>", "other"),
        ("array<struct<role: string, content: string, weight: double>>", "messages"),
        ("array<struct<`from`: string, value: void>>", "messages"),
        ("array<struct<content: string>>", "other"),
        ("array<struct<role: string, content: int>>", "other"),
        ("array<struct<role: string, content: array<string>>>", "other"),
        ("array<struct<role: string, content: array<struct<text: string, type: string>>>>", "messages"),
        ("array<struct<role: string, content: string, tool_calls: array<void>>>", "messages"),
        ("array<struct<role: string, content: string, tool_calls: string>>", "other"),
        ("array<struct<role: string, content: string, tool_calls: array<struct<id: string>>>>", "messages"),
        ("array<struct<role: string, content: string, tool_calls: array<struct<function: string>>>>", "other"),
    ],
)
def test_types_have_kinds(spark, ddl, kind):
    assert kinds_of(spark.sql(f"select cast(null as {ddl}) it").schema) == {"it": kind}


def test_reference_has_no_sql_form():
    with pytest.raises(UsageError, match="no SQL form"):
        text_column(StructType().add("text", "string"), detect_layout({"text": "string"}, "reference"))


@pytest.mark.parametrize(
    ("sql", "text", "problem"),
    [
        ("concat(title, '\n', body)", b"T\nB", None),
        ("upper(title) as t", b"T", None),
        ("cast(null as string)", None, "null:text"),
        ("' '", b" ", "empty"),
        ("cast(x'ff' as string)", b"\xff", "utf8"),
    ],
)
def test_an_expression_gives_the_text(spark, sql, text, problem):
    frame = spark.sql("select 'T' title, 'B' body, 1 n, array('a', 'b') many")
    frame = frame.withColumn("text", expression_column(frame, sql))
    row = (
        frame.select(F.col("text").cast("binary").alias("text"), problem_column(F.col("text"))).toArrow().to_pylist()[0]
    )
    assert tuple(row.values()) == (text, problem)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("titel", "'titel' cannot be used: [UNRESOLVED_COLUMN.WITH_SUGGESTION]"),
        ("concat(title,", "cannot be used: [PARSE_SYNTAX_ERROR] Syntax error at or near end of input"),
        ("", "cannot be used: [PARSE_EMPTY_STATEMENT]"),
        ("no_such(title)", "[UNRESOLVED_ROUTINE]"),
        ("max(title)", "[MISSING_GROUP_BY]"),
        ("explode(many)", "[UNSUPPORTED_GENERATOR.NESTED_IN_EXPRESSIONS]"),
        ("n", "text-expr must give one string, got int from 'n'"),
        ("many", "got array<string>"),
        ("*", "got string, string, int, array<string>"),
    ],
)
def test_a_bad_expression_is_a_short_input_error(spark, sql, message):
    frame = spark.sql("select 'T' title, 'B' body, 1 n, array('a', 'b') many")
    with pytest.raises(InputError) as error:
        expression_column(frame, sql)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert "SQLSTATE" not in str(error.value)
