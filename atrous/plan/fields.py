"""What a recipe may hold: each field with its values, its default and what it does.

All of it is read from `Recipe`: types and bounds, defaults, descriptions. docs/recipe.md is made by
`field_tables`.
"""

import json
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any, NamedTuple

from atrous.files import toml_text
from atrous.train.recipe import FROM_DATA, Recipe

TOPICS = {
    "atrous": "The run and its data",
    "model": "The network",
    "dtype": "The images and their augmentation",
    "loss": "The loss",
    "optimizer": "The optimiser and its schedule",
    "seed": "Seed, stopping, folds and extensions",
    "time": "Length, and what is measured before step 1",
}
"""Topics of the fields, each by its first field; it goes on to the next topic's."""

PLANNED = {
    "model", "encoder", "weights", "crop", "scale", "vflip", "loss", "class_weights", "lr", "encoder_lr", "ema",
    "batch", "accumulate", "time",
}  # fmt: skip
"""Fields that the plan always decides, so that their defaults in `Recipe` are never seen."""

OPEN, BY_PLAN, BY_TRAINING = "open", "planned", "by training"

LEGEND = {
    BY_PLAN: "`atrous plan DATA` says which value it takes, and why.",
    OPEN: "no value; the description says what that means.",
    BY_TRAINING: "training writes it into `recipe.toml`; it cannot be set.",
}
"""What stands in the place of a default, and what it means."""

LETTER = "x in a description is the value of the field."


class FieldRow(NamedTuple):
    """A field of a recipe.

    Attributes:
        name: its key.
        values: what it takes, in words, such as "number 0 to 1".
        default: as TOML, or a word of `LEGEND`.
        description: one to three sentences.
    """

    name: str
    values: str
    default: str
    description: str


def field_rows() -> dict[str, list[FieldRow]]:
    """Topic -> its fields, in the order of a recipe."""
    properties, topic, found = recipe_schema()["properties"], "", dict[str, list[FieldRow]]()
    for name, field in Recipe.model_fields.items():
        topic = TOPICS.get(name, topic)
        row = FieldRow(name, values_of(properties[name]), default_of(name), field.description or "")
        found.setdefault(topic, []).append(row)
    return found


def field_lines() -> list[str]:
    """The list that `atrous plan --fields` prints, as wide as the terminal (at most 100)."""
    width = min(100, max(60, get_terminal_size().columns))
    lines = [f"default {word}: {meaning}" for word, meaning in LEGEND.items()] + [LETTER]
    for topic, rows in field_rows().items():
        lines += ["", topic]
        for row in rows:
            lines.append(f"  {row.name:<20}{row.values}; default: {row.default}")
            indent = " " * 22
            lines += wrap(
                row.description, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
            )
    return lines


def field_tables() -> str:
    """The tables of docs/recipe.md, one for each topic."""
    parts = []
    for topic, rows in field_rows().items():
        lines = [f"## {topic}", "", "| field | values | default | what |", "|---|---|---|---|"]
        for row in rows:
            default = row.default if row.default in LEGEND else f"`{row.default}`"
            lines.append(f"| `{row.name}` | {row.values} | {default} | {row.description} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def recipe_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a recipe or a part of one, for editors of TOML.

    No field is required, since what a file leaves open the plan decides; and there is no null,
    which TOML lacks.
    """
    schema = Recipe.model_json_schema()
    properties = {}
    for name, found in schema["properties"].items():
        kinds = [kind for kind in found.pop("anyOf", []) if kind.get("type") != "null"]
        kinds = [{"type": "object"} if "$ref" in kind else kind for kind in kinds]  # training writes it: no schema
        kept = {key: value for key, value in found.items() if key not in ("title", "default")}
        kept |= kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {}
        if default_of(name) not in LEGEND:
            kept["default"] = found.get("default", {})
        properties[name] = kept
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A recipe of atrous",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def default_of(name: str) -> str:
    """What a recipe has where a file leaves the field out: TOML, or a word of `LEGEND`."""
    if name in PLANNED:
        return BY_PLAN
    if name in FROM_DATA:
        return BY_TRAINING
    default = Recipe.model_fields[name].get_default(call_default_factory=True)
    if default is None:
        return OPEN
    return "{}" if default == {} else toml_text({"x": default}).removeprefix("x = ").rstrip()


def values_of(schema: dict[str, Any], many: bool = False) -> str:
    """In words what a JSON schema of one field allows; many: in the plural."""
    if "anyOf" in schema:
        return " or ".join(values_of(kind) for kind in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        *others, last = (json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
        return f"{', '.join(others)} or {last}" if others else last
    kind = schema["type"]
    if kind == "array":
        if "prefixItems" in schema:
            inside = f"{len(schema['prefixItems'])} {values_of(schema['prefixItems'][0], many=True)}"
            return f"pairs of {inside.removeprefix('2 ')}" if many else inside
        inside = values_of(schema["items"], many=True)
        return f"{schema['minItems']} or {schema['maxItems']} {inside}" if "maxItems" in schema else f"list of {inside}"
    if kind in ("integer", "number"):
        return f"{'whole ' * (kind == 'integer')}number{'s' * many}{range_of(schema)}"
    return {"boolean": "true or false", "string": "text", "object": "table"}[kind]


def range_of(schema: dict[str, Any]) -> str:
    """The bounds of a number, with a space before them; "" if there are none."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" {_short(low)} to {_short(high)}"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {_short(schema[key])}" for key, sign in signs.items() if key in schema]
    return f" {' and '.join(bounds)}" if bounds else ""


def _short(number: float) -> str:
    """2^64 rather than its twenty digits."""
    return f"2^{int(number).bit_length() - 1}" if number in (2**31, 2**64) else f"{number:.6g}"
