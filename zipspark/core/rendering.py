"""A record becomes the bytes that are compressed, and which of its columns do is told by the columns themselves.

=================  ==========================================  ====================================================
schema             columns ([optional])                        text: pieces joined by one newline
=================  ==========================================  ====================================================
text               ``text``, a string or UTF-8 bytes (1)       the column as it is
sharegpt           ``conversations``, messages                 each message's content, then its tool calls
messages           ``messages``, messages                      the same
alpaca             ``instruction``, [``input``], ``output``    the columns in this order
prompt-response    ``prompt``, ``response`` or ``completion``  the columns in this order, strings or messages
preference         [``prompt``], ``chosen``, ``rejected``      the same, but what they share at their start once (2)
reference          all                                         ``repr`` of the record, as the released ZIP program
=================  ==========================================  ====================================================

- *Messages* are lists of ``{role, content}`` or ``{from, value}``, in any column. A content is a string or a list of
  parts, of which each ``text`` counts. A tool call counts with its ``function.arguments``: a string as it is, an object
  as JSON without spaces and null fields (fractions, dates and control characters in it as the engine writes them).
- Pieces that are null or empty give nothing, a missing key is a null one, and no role labels are added.
- ``roles`` keeps only the messages of these roles; ``user`` is ``human`` and ``assistant`` is ``gpt``, both ways.
- (1) Else the only string column, if it is called ``content`` or ``value``, is the table's only column, or the user
  said ``--schema text``.
- (2) A side that starts with the prompt is cut behind it. Then the leading pieces of ``rejected`` that equal those of
  ``chosen`` are left out; the pieces of a message list are its messages, those of a string its lines. (Lines, not
  characters: no word is torn, and Spark SQL can say it too.)

A record without a text raises `RenderError` with the first code that applies: ``null:COLUMN`` or ``type:WHERE expected
X got Y`` in the order of the columns, ``utf8`` (invalid bytes, lone surrogates), ``empty`` (only ASCII whitespace).
`zipspark.spark.rendering` says all this again in Spark SQL, and a test holds the two together.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, takewhile
from typing import Literal, NamedTuple

from zipspark.errors import InputError, UsageError

Kind = Literal["string", "bytes", "messages", "null", "other"]  # a column's type, whatever the engine


class RenderError(ValueError):
    """A record has no text; ``reason`` is the code that the ledger shows, such as ``null:text``."""

    @property
    def reason(self) -> str:
        return str(self.args[0])


class Field(NamedTuple):
    """A column that counts."""

    column: str
    kind: Kind
    required: bool  # a null is then an error, otherwise it gives nothing


@dataclass(frozen=True)
class Layout:
    """Which columns give the text of a record, and how. Made by `detect_layout`."""

    schema: str  # a name in the table above
    fields: tuple[Field, ...]  # in the order of the text, optional columns included even if the pool has none
    roles: tuple[str, ...] | None = None  # whose messages count, other names of a role included; None: all


class _Slot(NamedTuple):
    names: tuple[str, ...]  # one of them must be there
    kinds: tuple[Kind, ...]  # and be one of these
    required: bool = True


_TEXT: tuple[Kind, ...] = ("string",)
_CHAT: tuple[Kind, ...] = ("messages",)
_EITHER = _TEXT + _CHAT
_SLOTS: dict[str, tuple[_Slot, ...]] = {
    "text": (_Slot(("text",), ("string", "bytes")),),
    "sharegpt": (_Slot(("conversations",), _CHAT),),
    "messages": (_Slot(("messages",), _CHAT),),
    "alpaca": (_Slot(("instruction",), _TEXT), _Slot(("input",), _TEXT, False), _Slot(("output",), _TEXT)),
    "prompt-response": (_Slot(("prompt",), _EITHER), _Slot(("response", "completion"), _EITHER)),
    "preference": (_Slot(("prompt",), _EITHER, False), _Slot(("chosen",), _EITHER), _Slot(("rejected",), _EITHER)),
}
MESSAGE_FORMS = ({"role", "content"}, {"from", "value"})  # one of these sets of keys makes a message
_SAME_ROLE = ({"user", "human"}, {"assistant", "gpt"})


def kinds_of_records(records: Iterable[Mapping[str, object]]) -> dict[str, Kind]:
    """The kind of each column that occurs in ``records``: the one most of them show, as a few records may be bad.

    Nulls and empty lists have no say: a column that holds nothing else is of kind ``null``.

    >>> kinds_of_records([{"id": 1, "text": "a"}, {"id": 2, "text": None}, {"text": "b", "more": []}])
    {'id': 'other', 'text': 'string', 'more': 'null'}
    """
    votes: dict[str, Counter[Kind]] = {}
    for record in records:
        for column, value in record.items():
            kind = _kind_of(value)
            votes.setdefault(column, Counter()).update([] if kind == "null" else [kind])
    return {column: count.most_common(1)[0][0] if count else "null" for column, count in votes.items()}


def detect_layout(columns: Mapping[str, Kind], schema: str = "auto", roles: Collection[str] | None = None) -> Layout:
    """Settle which ``columns`` (name → kind, in the table's order) give the text.

    ``schema`` is a name in the table above or ``auto``, which never chooses ``reference``. Raises `InputError` when
    the columns fit no schema, several, or not the one asked for, and `UsageError` for roles where none are.

    >>> detect_layout({"id": "other", "text": "string"})
    Layout(schema='text', fields=(Field(column='text', kind='string', required=True),), roles=None)
    """
    fields: tuple[Field, ...] = ()
    if schema == "auto":
        schema, fields = _only_fit(columns)
    elif schema != "reference":
        fields, problems = _fit(schema, columns, asked=True)
        if problems:
            raise InputError(f"schema {schema} does not fit: {', '.join(problems)}; {_found(columns)}")
    if roles is None:
        return Layout(schema, fields)
    if not any(field.kind == "messages" for field in fields):
        raise UsageError(f"roles must stand beside a schema with messages, got schema {schema}")
    wanted = set(roles).union(*(names for names in _SAME_ROLE if not names.isdisjoint(roles)))
    return Layout(schema, fields, tuple(sorted(wanted)))


def layout_renderer(layout: Layout) -> Callable[[Mapping[str, object]], bytes]:
    """The function that turns a record into its text as UTF-8; it raises `RenderError` for a record without one.

    >>> render = layout_renderer(detect_layout({"prompt": "string", "response": "string"}))
    >>> render({"prompt": "2 + 2?", "response": "4"})
    b'2 + 2?\\n4'
    """
    if layout.schema == "reference":
        return lambda record: repr(record).encode()  # repr escapes what UTF-8 cannot hold

    def render(record: Mapping[str, object]) -> bytes:
        columns = [_pieces(record.get(field.column), field, layout.roles) for field in layout.fields]
        pieces = _preference(columns, layout) if layout.schema == "preference" else chain.from_iterable(columns)
        try:
            text = "\n".join(pieces).encode()
        except UnicodeEncodeError:
            raise RenderError("utf8") from None
        if not text or text.isspace():
            raise RenderError("empty")
        return text

    return render


def _preference(columns: list[list[str]], layout: Layout) -> list[str]:
    """Prompt, chosen and what is new in rejected, as note (2) on top says."""
    prompt, *sides = columns
    if layout.fields[-1].kind == "string":
        asked = "\n".join(prompt)
        chosen, rejected = ("".join(side).removeprefix(asked).split("\n") for side in sides)
    else:
        n = len(prompt)
        chosen, rejected = (side[n:] if side[:n] == prompt else side for side in sides)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False)))
    return [text for block in (prompt, chosen, rejected[shared:]) if (text := "\n".join(block))]


def _pieces(value: object, field: Field, roles: tuple[str, ...] | None) -> list[str]:
    """What a column gives: one text per message, or the string itself; never an empty one."""
    if value is None:
        if field.required:
            raise RenderError(f"null:{field.column}")
        return []
    if field.kind == "messages":
        messages = _objects(value, field.column)
        texts = [_message(m, at) for at, m in messages if roles is None or _first(m, "role", "from") in roles]
    else:
        texts = [_string(value, field.column)]
    return [text for text in texts if text]


def _message(message: Mapping[str, object], where: str) -> str:
    content = _first(message, "content", "value")
    if isinstance(content, list):
        texts = [_string(part.get("text"), f"{at}.text") for at, part in _objects(content, f"{where}.content")]
    else:
        texts = [_string(content, f"{where}.content")]
    for at, call in _objects(message.get("tool_calls"), f"{where}.tool_calls"):
        function = _object(call.get("function"), f"{at}.function")
        texts.append(_arguments(function.get("arguments"), f"{at}.function.arguments"))
    return "\n".join(text for text in texts if text)


def _arguments(value: object, where: str) -> str:
    if not isinstance(value, (dict, list)):
        return _string(value, where)
    return json.dumps(_without_nulls(value), ensure_ascii=False, separators=(",", ":"), default=str)


def _without_nulls(value: object) -> object:
    """Fields that are null left out at every depth: a table has them wherever another row has a value."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _first(message: Mapping[str, object], *keys: str) -> object:
    return next((message[key] for key in keys if message.get(key) is not None), None)


def _string(value: object, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")  # bad bytes become surrogates, which `render` refuses
    if value is None:
        return ""
    raise _wrong(where, "string", value)


def _objects(value: object, where: str) -> list[tuple[str, Mapping[str, object]]]:
    """(where it is, object) for each in a list; none for a null instead of a list."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong(where, "list", value)
    return [(at := f"{where}[{index}]", _object(item, at)) for index, item in enumerate(value)]


def _object(value: object, where: str) -> Mapping[str, object]:
    if value is not None and not isinstance(value, Mapping):
        raise _wrong(where, "object", value)
    return value or {}  # a null object gives what an object of nulls gives: nothing


def _wrong(where: str, expected: str, value: object) -> RenderError:
    return RenderError(f"type:{where} expected {expected} got {type(value).__name__}")


def _kind_of(value: object) -> Kind:
    if value is None or value == []:
        return "null"
    if isinstance(value, (str, bytes)):
        return "string" if isinstance(value, str) else "bytes"
    members = [item.keys() for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    return "messages" if any(form <= keys for keys in members for form in MESSAGE_FORMS) else "other"


def _only_fit(columns: Mapping[str, Kind]) -> tuple[str, tuple[Field, ...]]:
    """The one schema that the columns fit, with its fields."""
    tried = {schema: _fit(schema, columns) for schema in _SLOTS}
    fits = {schema: fields for schema, (fields, problems) in tried.items() if not problems}
    if len(fits) == 1:
        return fits.popitem()
    if fits:
        matched = " and ".join(f"{schema} ({', '.join(field.column for field in fits[schema])})" for schema in fits)
        flags = " or ".join(f"--schema {schema}" for schema in fits)
        raise InputError(f"columns fit {matched}; {_found(columns)}; choose with {flags}, or give --text-expr SQL")
    near = [
        f"; {schema}: {', '.join(problems)}"
        for schema, (_, problems) in tried.items()
        if any(name in columns for slot in _SLOTS[schema] for name in slot.names)
    ]
    raise InputError(
        f"columns fit no schema of {', '.join(_SLOTS)}; {_found(columns)}{''.join(near)}; give --text-expr SQL, "
        "or --schema text when the only string column is the text"
    )


def _fit(schema: str, columns: Mapping[str, Kind], asked: bool = False) -> tuple[tuple[Field, ...], list[str]]:
    """The fields of ``schema`` among ``columns``, and what is in the way of it."""
    fields, problems = [], []
    for slot in _SLOTS[schema]:
        names = (_text_name(columns, asked),) if schema == "text" else slot.names
        found = [name for name in names if columns.get(name, "null") != "null"]
        name, kind = (found[0], columns[found[0]]) if found else (names[0], slot.kinds[0])
        fields.append(Field(name, kind, slot.required))
        if len(found) > 1:
            problems.append(f"both {' and '.join(found)} are there")
        elif slot.required and not found:
            problems.append(f"{' or '.join(names)} {'holds only nulls' if name in columns else 'is missing'}")
        elif kind not in slot.kinds:
            problems.append(f"{name} must be {' or '.join(slot.kinds)}, is {kind}")
    if schema == "preference" and not problems and fields[-2].kind != fields[-1].kind:
        problems.append(f"chosen is {fields[-2].kind}, rejected is {fields[-1].kind}")
    return tuple(fields), problems


def _text_name(columns: Mapping[str, Kind], asked: bool) -> str:
    """The column that holds the text if one does: see note (1) on top."""
    strings = [name for name, kind in columns.items() if kind == "string"]
    if "text" in columns or len(strings) != 1:
        return "text"
    return strings[0] if asked or len(columns) == 1 or strings[0] in ("content", "value") else "text"


def _found(columns: Mapping[str, Kind]) -> str:
    return "found " + (", ".join(f"{name} ({kind})" for name, kind in columns.items()) or "no columns")
