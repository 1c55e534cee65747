"""A query as a value: SQL, arguments and what a row means, so that readers and transactions share every
statement."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)
Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Query(Generic[T]):
    """`sql` with its `args`; `decode` turns one row into what the caller wants."""

    sql: str
    args: tuple[Any, ...]
    decode: Callable[[Row], T]


@cache
def columns(model: type[msgspec.Struct]) -> str:
    """The model's fields as a column list, in their order."""
    return ", ".join(model.__struct_fields__)


@cache
def decoder(model: type[S]) -> Callable[[Row], S]:
    """A decoder for rows selected by `columns(model)`: 0 and 1 become bool, JSON columns (bytes) become
    lists and structs."""
    fields = {field.name: field.type for field in msgspec.structs.fields(model)}
    nested = [i for i, kind in enumerate(fields.values()) if _is_json(kind)]
    names = tuple(fields)

    def decode(row: Row) -> S:
        values = list(row)
        for i in nested:
            values[i] = msgspec.json.decode(values[i])
        return msgspec.convert(dict(zip(names, values, strict=True)), model, strict=False)

    return decode


def _is_json(kind: Any) -> bool:
    plain = kind.__origin__ if hasattr(kind, "__origin__") else kind
    return plain in {list, dict} or (isinstance(plain, type) and issubclass(plain, msgspec.Struct))


def select(model: type[S], table: str, where: str, *args: Any) -> Query[S]:
    """`SELECT <the model's columns> FROM table WHERE …` as a Query."""
    sql = f"SELECT {columns(model)} FROM {table} WHERE {where}"  # noqa: S608 (names of our own)
    return Query(sql, args, decoder(model))


def insertion(
    model: type[msgspec.Struct], table: str, *, skip: tuple[str, ...] = (), replace: str = ""
) -> str:
    """`INSERT INTO table (…) VALUES (…)` for `parameters(row, skip)`; `replace` is an ON CONFLICT clause."""
    names = [n for n in model.__struct_fields__ if n not in skip]
    marks = ", ".join("?" * len(names))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}) {replace}"  # noqa: S608


def parameters(row: msgspec.Struct, skip: tuple[str, ...] = ()) -> tuple[Any, ...]:
    """The row's values for `insertion`: lists, dicts and structs become JSON bytes."""
    values, nested = _reader(type(row), skip)
    found = values(row)
    if not nested:
        return found
    return tuple(msgspec.json.encode(v) if i in nested else v for i, v in enumerate(found))


@cache
def _reader(
    model: type[msgspec.Struct], skip: tuple[str, ...]
) -> tuple[Callable[[msgspec.Struct], tuple[Any, ...]], frozenset[int]]:
    """What reads the model's values at once, and the places of those that are stored as JSON."""
    fields = [field for field in msgspec.structs.fields(model) if field.name not in skip]
    nested = frozenset(i for i, field in enumerate(fields) if _is_json(field.type))
    return attrgetter(*(field.name for field in fields)), nested


def count(sql: str, *args: Any) -> Query[int]:
    """A query that gives one number."""
    return Query(sql, args, lambda row: int(row[0]))
