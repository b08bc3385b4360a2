"""Records to bytes: every schema, every way a record can fail, and how the schema is told from the columns."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipspark.core.rendering import RenderError, detect_layout, kinds_of_records, layout_renderer
from zipspark.errors import InputError, UsageError

CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]}


def rendered(record, schema="auto", roles=None):
    return layout_renderer(detect_layout(kinds_of_records([record]), schema, roles))(record).decode()


def says(*turns):
    return [{"role": role, "content": content} for role, content in turns]


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"id": 7, "text": "as it is\n "}, "as it is\n "),
        ({"text": "naïve 😀".encode()}, "naïve 😀"),
        ({"n": 1, "content": "stands in"}, "stands in"),
        ({"value": "stands in"}, "stands in"),
        ({"the only column": "stands in"}, "stands in"),
        ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]}, "Hi\nYo"),
        ({"conversations": says(("user", "Hi"), ("assistant", "Yo"))}, "Hi\nYo"),
        ({"messages": says(("system", ""), ("user", "Hi"), ("assistant", None), ("assistant", "Yo"))}, "Hi\nYo"),
        ({"messages": [None, *says(("user", "Hi"))]}, "Hi"),
        ({"messages": says(("user", [{"type": "text", "text": "Look"}, {"type": "image_url"}, None]))}, "Look"),
        ({"messages": [*says(("user", "Hi")), CALL]}, 'Hi\n{"a": 1}'),
        ({"instruction": "Add", "input": "1 2", "output": "3"}, "Add\n1 2\n3"),
        ({"instruction": "Add", "input": "", "output": "3"}, "Add\n3"),
        ({"instruction": "Add", "output": "3"}, "Add\n3"),
        ({"prompt": "Q", "response": "A"}, "Q\nA"),
        ({"completion": "A", "prompt": "Q"}, "Q\nA"),
        ({"prompt": says(("user", "Q")), "completion": says(("assistant", "A"))}, "Q\nA"),
    ],
)
def test_contents_joined_by_one_newline(record, text):
    assert rendered(record) == text


@pytest.mark.parametrize(
    ("record", "text"),
    [
        # Strings share their leading lines, whole ones only.
        ({"chosen": "Q\nyes", "rejected": "Q\nno"}, "Q\nyes\nno"),
        ({"chosen": "Q yes", "rejected": "Q no"}, "Q yes\nQ no"),
        ({"chosen": "Q\n", "rejected": "Q"}, "Q\n"),
        ({"chosen": "same", "rejected": "same"}, "same"),
        ({"chosen": "😀\nyes", "rejected": "😀\nno"}, "😀\nyes\nno"),
        # With a prompt, it goes first, and sides that repeat it are cut behind it, within a line too.
        ({"prompt": "Q:", "chosen": "yes", "rejected": "no"}, "Q:\nyes\nno"),
        ({"prompt": "😀 Q:", "chosen": "😀 Q: yes", "rejected": "😀 Q: no"}, "😀 Q:\n yes\n no"),
        ({"prompt": "Q:", "chosen": "Q: yes", "rejected": "no"}, "Q:\n yes\nno"),
        ({"prompt": None, "chosen": "yes", "rejected": "no"}, "yes\nno"),
        ({"prompt": says(("user", "Q\n")), "chosen": "Q\nyes", "rejected": "no"}, "Q\n\nyes\nno"),
        # Message lists share their leading messages.
        (
            {"chosen": says(("user", "Q"), ("assistant", "yes")), "rejected": says(("user", "Q"), ("assistant", "no"))},
            "Q\nyes\nno",
        ),
        (
            {"prompt": "Q", "chosen": says(("user", "Q"), ("assistant", "y")), "rejected": says(("user", "n"))},
            "Q\ny\nn",
        ),
        ({"chosen": [{"from": "gpt", "value": "y"}], "rejected": says(("assistant", "n"))}, "y\nn"),
        ({"chosen": [], "rejected": says(("assistant", "n"))}, "n"),
    ],
)
def test_preference_gives_both_sides_and_what_they_share_once(record, text):
    kinds = kinds_of_records([record])
    if kinds["chosen"] == "null":  # an empty list says nothing about its column, other records do
        kinds["chosen"] = kinds["rejected"]
    assert layout_renderer(detect_layout(kinds))(record).decode() == text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"b": [1, None], "a": {"x": None, "é": "ü"}}, '{"b":[1,null],"a":{"é":"ü"}}'), ("{ }", "{ }"), ([], "[]")],
)
def test_arguments_of_tool_calls_are_json(arguments, text):
    calls = [{"function": {"arguments": arguments}}, {"function": None}, None]
    assert rendered({"messages": [{"role": "assistant", "content": "", "tool_calls": calls}]}) == text


def test_reference_is_the_repr_of_the_whole_record_in_its_own_order():
    record = {"b": 1, "a": None, "text": "lone \ud800"}
    assert rendered(record, "reference") == "{'b': 1, 'a': None, 'text': 'lone \\ud800'}"


@pytest.mark.parametrize(
    ("roles", "text"),
    [(None, "s\nu\na\nt"), (["user"], "u"), (["human", "tool"], "u\nt"), (["gpt"], "a"), (["assistant", "x"], "a")],
)
@pytest.mark.parametrize("names", [("role", "content"), ("from", "value")])
@pytest.mark.parametrize("speakers", [("user", "assistant"), ("human", "gpt")])
def test_roles_choose_messages_under_either_name(names, speakers, roles, text):
    turns = [("system", "s"), (speakers[0], "u"), (speakers[1], "a"), ("tool", "t"), (None, "")]
    record = {"conversations": [dict(zip(names, turn, strict=True)) for turn in turns]}
    assert rendered(record, roles=roles) == text


def test_roles_need_messages():
    with pytest.raises(UsageError, match="got schema alpaca"):
        detect_layout({"instruction": "string", "output": "string"}, roles=["user"])


@pytest.mark.parametrize(
    ("good", "bad", "reason"),
    [
        ({"text": "a"}, {"text": None}, "null:text"),
        ({"text": "a"}, {}, "null:text"),
        ({"text": "a"}, {"text": 3}, "type:text expected string got int"),
        ({"text": "a"}, {"text": "a\ud800"}, "utf8"),
        ({"text": b"a"}, {"text": b"a\xff"}, "utf8"),
        ({"text": "a"}, {"text": " \n\t\r\x0b\x0c"}, "empty"),
        ({"instruction": "a", "output": "b"}, {"instruction": "\ud800", "output": None}, "null:output"),
        ({"instruction": "a", "output": "b"}, {"instruction": "", "output": ""}, "empty"),
        ({"instruction": "a", "output": "b"}, {"instruction": "a", "input": 0, "output": "b"}, "type:input expected"),
        ({"messages": says(("user", "a"))}, {"messages": 3}, "type:messages expected list got int"),
        ({"messages": says(("user", "a"))}, {"messages": "hi"}, "type:messages expected list got str"),
        ({"messages": says(("user", "a"))}, {"messages": ["hi"]}, "type:messages[0] expected object got str"),
        ({"messages": says(("user", "a"))}, {"messages": []}, "empty"),
        (
            {"messages": says(("user", "a"))},
            {"messages": says(("user", 3))},
            "type:messages[0].content expected string",
        ),
        (
            {"messages": says(("user", "a"))},
            {"messages": says(("user", [{"text": 3}]))},
            "type:messages[0].content[0].text expected string got int",
        ),
        (
            {"messages": [CALL]},
            {"messages": [{"tool_calls": [{"function": {"arguments": 3}}]}]},
            "type:messages[0].tool_calls[0].function.arguments expected string got int",
        ),
        (
            {"messages": [CALL]},
            {"messages": [{"tool_calls": "f"}]},
            "type:messages[0].tool_calls expected list got str",
        ),
        (
            {"chosen": "a", "rejected": "b"},
            {"chosen": "a", "rejected": ["b"]},
            "type:rejected expected string got list",
        ),
    ],
)
def test_a_record_that_cannot_be_rendered_says_why(good, bad, reason):
    render = layout_renderer(detect_layout(kinds_of_records([good])))
    render(good)
    with pytest.raises(RenderError) as error:
        render(bad)
    assert error.value.reason.startswith(reason)
    assert pickle.loads(pickle.dumps(error.value)).reason == error.value.reason  # it crosses processes


def test_kinds_are_what_most_records_show():
    records = [{"text": "a", "m": []}, {"text": 1, "m": [{"content": "x"}, {"from": "a", "value": "b"}]}]
    assert kinds_of_records([*records, {"text": "b", "x": None}]) == {"text": "string", "m": "messages", "x": "null"}
    assert kinds_of_records([{"m": [{"content": "no role"}]}, {"m": None}]) == {"m": "other"}
    assert kinds_of_records([]) == {}


@pytest.mark.parametrize(
    ("columns", "schema", "fields"),
    [
        ({"text": "bytes"}, "text", ["text"]),
        ({"url": "string", "text": "string"}, "text", ["text"]),
        ({"conversations": "messages", "source": "string"}, "sharegpt", ["conversations"]),
        ({"instruction": "string", "input": "null", "output": "string"}, "alpaca", ["instruction", "input", "output"]),
        ({"prompt": "string", "messages": "messages"}, "messages", ["messages"]),
        ({"prompt": "string", "completion": "string", "response": "null"}, "prompt-response", ["prompt", "completion"]),
        ({"rejected": "string", "chosen": "string"}, "preference", ["prompt", "chosen", "rejected"]),
    ],
)
def test_columns_tell_the_schema(columns, schema, fields):
    layout = detect_layout(columns)
    assert (layout.schema, [field.column for field in layout.fields]) == (schema, fields)
    assert detect_layout(columns, schema) == layout


@pytest.mark.parametrize(
    ("columns", "schema", "message"),
    [
        ({"text": "string", "messages": "messages"}, "auto", "columns fit text (text) and messages (messages); found"),
        ({"text": "string", "messages": "messages"}, "auto", "choose with --schema text or --schema messages"),
        ({"id": "other", "body": "string"}, "auto", "found id (other), body (string); give --text-expr SQL"),
        ({"content": "string", "value": "string"}, "auto", "columns fit no schema"),
        ({"conversations": "other"}, "auto", "sharegpt: conversations must be messages, is other"),
        ({"instruction": "string", "input": "other", "output": "string"}, "auto", "alpaca: input must be string, is"),
        ({}, "auto", "found no columns"),
        ({"text": "null"}, "text", "schema text does not fit: text holds only nulls; found text (null)"),
        ({"a": "string", "b": "string"}, "text", "text is missing; found a (string), b (string)"),
        ({"instruction": "string"}, "alpaca", "schema alpaca does not fit: output is missing"),
        ({"prompt": "string"}, "prompt-response", "response or completion is missing"),
        ({"prompt": "string", "response": "string", "completion": "string"}, "auto", "both response and completion"),
        ({"chosen": "string", "rejected": "messages"}, "preference", "chosen is string, rejected is messages"),
    ],
)
def test_an_unclear_table_lists_what_was_found_and_what_settles_it(columns, schema, message):
    with pytest.raises(InputError) as error:
        detect_layout(columns, schema)
    assert message in str(error.value)


def test_schema_text_takes_the_only_string_whatever_its_name():
    assert detect_layout({"id": "other", "body": "string"}, "text").fields[0].column == "body"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "text", "tool_calls", "function", "arguments"]), inner
        )
    ),
    max_leaves=12,
)


@given(value=json_values, other=json_values, kind=st.sampled_from(["string", "messages"]))
def test_any_value_gives_text_or_a_reason(value, other, kind):
    render = layout_renderer(detect_layout({"prompt": kind, "chosen": kind, "rejected": kind}))
    try:
        text = render({"prompt": other, "chosen": value, "rejected": other}).decode()
    except RenderError as error:
        code, text = error.reason.split(":")[0], None
    assert text.strip(" \t\n\r\x0b\x0c") if text else code in {"null", "type", "utf8", "empty"}


@given(st.text(), st.lists(st.text("ab😀\n", max_size=4), min_size=2, max_size=2))
def test_a_shared_start_is_written_once(shared, sides):
    chosen, rejected = (f"{shared}\n{side}" for side in sides)
    record = {"chosen": chosen, "rejected": rejected}
    try:
        text = rendered(record)
    except RenderError:
        return
    assert text.startswith(chosen)
    assert len(text) <= len(chosen) + 1 + len(sides[1])
