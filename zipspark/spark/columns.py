"""The columns that say what a row is besides its text: its id, group, quality and tokens.

What a number is, is said twice, in Python for records and in SQL for tables, and a test holds the two together:
a number, or a string that spells one out in decimals; never a boolean, nothing infinite, no NaN.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

import pyspark.sql.functions as F
from pyspark.sql import Column
from pyspark.sql.types import ArrayType, DataType, MapType, NullType, NumericType, StringType, StructType, VariantType

from zipspark.config import PoolOptions
from zipspark.core.rendering import RenderError
from zipspark.errors import InputError

_DECIMAL = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"  # of what Python and Spark both read, both also read more
_LARGEST = 2**53  # tokens; up to it a double holds every whole number
_NESTED = (ArrayType, MapType, StructType, VariantType)

NUMBERS = ("quality_column", "token_column")  # options whose column holds numbers


def quoted(name: str) -> Column:
    """The column called exactly ``name``, dots and backticks included."""
    return F.col("`" + name.replace("`", "``") + "`")


def asked_for(options: PoolOptions) -> Iterator[tuple[str, str]]:
    """(option, column) for each column that the user named."""
    for option in ("id_column", "group_column", *NUMBERS):
        if (name := getattr(options, option)) is not None:
            yield option, name


def check_columns(columns: Sequence[str], options: PoolOptions) -> None:
    """Raises `InputError` for a column that was asked for and is not there."""
    for option, name in asked_for(options):
        if name not in columns:
            raise InputError(f"{option} must be a column of the input, got {name!r}; found {', '.join(columns)}")


def check_types(schema: StructType, options: PoolOptions) -> None:
    """Raises `InputError` for a column that was asked for and whose type cannot be what the option needs."""
    for option, name in asked_for(options):
        kind = schema[name].dataType
        if option in NUMBERS:
            if not isinstance(kind, (NumericType, StringType, NullType)):
                raise InputError(f"{option} must be a number, {name} is {kind.simpleString()}")
        else:
            check_simple(option, name, kind)


def check_simple(option: str, name: str, kind: DataType) -> None:
    """Raises `InputError` when a column cannot be shown as one string."""
    if isinstance(kind, _NESTED):
        raise InputError(f"{option} must be of a simple type, {name} is {kind.simpleString()}")


def id_name(columns: Sequence[str], id_column: str | None) -> str | None:
    """The column with ids: the user's, or that of an earlier result; None where neither is there."""
    return next((name for name in (id_column, "zip_id") if name in columns), None)


# In Python


def number(value: object) -> float | None:
    """The finite number that a JSON value is, or None.

    >>> number(3), number(" 2.5 "), number(True), number("nan"), number(1e999)
    (3.0, 2.5, None, None, None)
    """
    if isinstance(value, str):
        spelled = re.search(_DECIMAL, value, re.ASCII)
        value = float(value) if spelled else None
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:  # an integer of more than 308 digits
        return None
    return found if math.isfinite(found) else None


def tokens(value: object) -> int:
    """The count of tokens that a JSON value is; raises `RenderError` with a reason code where it is none.

    >>> tokens(12), tokens("12")
    (12, 12)
    """
    if value is None:
        raise RenderError("tokens:null")
    found = number(value)
    if found is not None and found < 0:
        raise RenderError("tokens:negative")
    if found is None or not found.is_integer() or found > _LARGEST:
        raise RenderError("tokens:not a whole number")
    return int(found)


# In SQL


def string_column(name: str | None) -> Column:
    """An id or a group; without a ``name`` null, as below."""
    return F.lit(None).cast("string") if name is None else quoted(name).cast("string")


def number_column(schema: StructType, name: str | None) -> Column:
    """`number` of a column of a table."""
    if name is None:
        return F.lit(None).cast("double")
    column = quoted(name)
    if isinstance(schema[name].dataType, StringType):
        column = F.when(column.rlike(_DECIMAL), column)  # what is no number would stop the job
    found = column.cast("double")
    return F.when(F.abs(found) < float("inf"), found)  # for Spark NaN is above infinity


def token_columns(schema: StructType, name: str | None) -> tuple[Column, Column]:
    """`tokens` of a column of a table: (count, reason why it is none)."""
    if name is None:
        return F.lit(None).cast("bigint"), F.lit(None).cast("string")
    found = number_column(schema, name)
    fine = (found >= 0) & (found % 1 == 0) & (found <= _LARGEST)
    reason = (
        F.when(quoted(name).isNull(), "tokens:null")
        .when(found < 0, "tokens:negative")
        .when(~F.coalesce(fine, F.lit(False)), "tokens:not a whole number")
    )
    return F.when(fine, found.cast("bigint")), reason
