"""How a recipe writes its loss, 'ce + 0.5 * tversky(alpha=0.3, beta=0.7)'; read without eval."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter, signature
from math import inf
from typing import Any, NamedTuple, get_args

from torch import nn

from atrous.errors import RecipeError, nearest

Value = bool | int | float | str
OWN = ("ignore", "weight", "smoothing")
"""Parameters of losses that come from the data or from other keys of the recipe."""

PLUS = re.compile(r"\+(?![^()]*\))")  # outside brackets
TERM = re.compile(r"(?:([^*()]*)\*)?\s*([^*()]*?)\s*(?:\(([^()]*)\))?\s*")


class Term(NamedTuple):
    """A summand: factor > 0, name of the loss, its parameters."""

    factor: float
    name: str
    options: dict[str, Value]


def parse(text: str, losses: Mapping[str, Callable[..., nn.Module]]) -> list[Term]:
    """The terms of a sum of `losses`; RecipeError says what is unknown and names the nearest."""
    try:
        return [_term(term, losses) for term in PLUS.split(text)]
    except (RecipeError, ValueError) as error:
        raise RecipeError(f"loss {text!r}: {error}") from error


def own_options(loss: Callable[..., nn.Module]) -> dict[str, Parameter]:
    """The parameters of a loss that a recipe may set."""
    given = loss.keywords if isinstance(loss, partial) else {}
    return {key: found for key, found in signature(loss).parameters.items() if key not in (*OWN, *given)}


def _term(text: str, losses: Mapping[str, Callable[..., nn.Module]]) -> Term:
    if (match := TERM.fullmatch(text)) is None:
        raise RecipeError(f"{text.strip()!r} cannot be read; write '0.5 * tversky(alpha=0.3, beta=0.7)'")
    factor, name, inside = match.groups()
    number = 1.0 if factor is None else _number(factor)
    if not 0 < number < inf:
        raise RecipeError(f"{(factor or '').strip()!r} is not a factor above 0; write '0.5 * {name}'")
    if name not in losses:
        raise RecipeError(f"unknown loss {name!r}; {nearest(name, list(losses))}")
    known, options = own_options(losses[name]), {}
    for entry in filter(str.strip, (inside or "").split(",")):
        key, _, value = (part.strip() for part in entry.partition("="))
        if key not in known:
            raise RecipeError(
                f"{name} has no parameter {key!r}; {nearest(key, list(known)) if known else 'it takes none'}"
            )
        options[key] = _value(f"{name}({key}={value})", value, known[key])
    losses[name](**options)  # raises if a value is out of range
    return Term(number, name, options)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0


def _value(what: str, text: str, parameter: Parameter) -> Value:
    """`text` as the parameter's type: one of its words, true or false, a number."""
    words: dict[str, Any] = {str(word): word for word in get_args(parameter.annotation) if isinstance(word, str)}
    if isinstance(parameter.default, bool):
        words = {"true": True, "false": False}
    if words:
        if text not in words:
            raise RecipeError(f"{what}: unknown value {text!r}; {nearest(text, list(words))}")
        return words[text]
    kind = int if isinstance(parameter.default, int) else float
    try:
        value = kind(text)
        if abs(value) < inf:
            return value
    except ValueError:
        pass
    raise RecipeError(f"{what}: {text!r} is not a {'whole ' if kind is int else ''}number")
