"""The kinds of options that builders take, and the one place that checks them: a wrong one is a sentence.

A builder's annotations say what an option may be. `Count`, `Share` and the others carry the words that the sentence has
for them; of plain types a bool is True or False, an int a whole number from 1 on, and nothing is converted but a list,
which becomes a tuple.
"""

import types
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from atrous.errors import ModelError


def _row(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError("not in an order")
    return value


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("even")
    return value


def _from_one(values: tuple[float, ...]) -> tuple[float, ...]:
    if values[0] != 1:
        raise ValueError("the first is not 1")
    return values


_in_order = BeforeValidator(_row)
MOST = 2**27
"""The largest number of channels: torch can still count the values of a tensor with two of them."""
Count = Annotated[int, Field(ge=1, le=MOST, strict=True, description="a whole number from 1 on")]
Odd = Annotated[int, Field(ge=1, strict=True, description="an odd number from 1 on"), AfterValidator(_odd)]
Share = Annotated[float, Field(ge=0, lt=1, strict=True, description="a number from 0 to less than 1")]
Positive = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False, description="a number above 0")]
Flag = Annotated[bool, Field(strict=True, description="True or False")]
Name = Annotated[str, Field(strict=True, description="a name")]
Zoom = Annotated[float, Field(ge=0.25, le=8, strict=True, description="a factor from 0.25 to 8, such as 1.5")]
Stride = Literal[2, 4, 8, 16, 32]
Counts = Annotated[
    tuple[Count, ...], _in_order, Field(min_length=1, description="whole numbers from 1 on, such as (6, 12, 18)")
]
AnyCounts = Annotated[tuple[Count, ...], _in_order, Field(description="whole numbers from 1 on, such as (16, 8)")]
Scales = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1, strict=True)], ...],
    _in_order,
    AfterValidator(_from_one),
    Field(min_length=1, description="numbers above 0 up to 1, the first 1, such as (1.0, 0.75, 0.5)"),
]
Steps = Annotated[
    tuple[Count | Annotated[tuple[Count, ...], _in_order], ...],
    _in_order,
    Field(description="for each stage a whole number from 1 on, or one per axis, such as (1, (1, 2, 2), 2)"),
]
Options = Annotated[dict[str, Any], Field(strict=True, description="options by name")]
Pretrained = Annotated[Flag | Name | Path, Field(description="True, False or a file of weights")]

STRICT: dict[Any, Any] = {bool: Flag, int: Count, str: Name, bool | str | Path: Pretrained}
"""What a plain type in a builder's signature means."""


def checked(name: str, builder: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of model `name` as its builder's annotations want them; ModelError for a value of another kind."""
    kinds = kinds_of(builder)
    return {option: check(f"{option} of {name}", kinds[option], value) for option, value in given.items()}


def check(what: str, kind: Any, value: Any) -> Any:
    """The value as its kind has it; ModelError, which calls it `what`, if it is not of that kind."""
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError:
        raise ModelError(f"{what} is {value!r}; give {words(kind)}") from None


def words(kind: Any) -> str:
    """What a kind allows, as in "8 or 16": the description of an annotated one, else by its parts."""
    kind = STRICT.get(kind, kind)
    told = [one.description for one in getattr(kind, "__metadata__", ()) if isinstance(one, FieldInfo)]
    if told and told[-1]:
        return told[-1]
    if kind is type(None):
        return "None"
    if get_origin(kind) is Literal:
        return _either([repr(value) for value in get_args(kind)])
    if get_origin(kind) in (Union, types.UnionType):
        return _either([words(part) for part in get_args(kind)])
    return str(kind)


def _either(parts: list[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} or {last}" if first else last


@cache
def kinds_of(builder: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(builder, include_extras=True)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(_strict(kind))


def _strict(kind: Any) -> Any:
    """The kind with what plain types mean written out."""
    if kind in STRICT:
        return STRICT[kind]
    if get_origin(kind) in (Union, types.UnionType):
        return Union[tuple(_strict(part) for part in get_args(kind))]  # noqa: UP007
    return kind
