"""Every field of a recipe is described, once, for the terminal, the docs and editors."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run

from atrous.bundle import load_card
from atrous.plan.facts import Facts
from atrous.plan.fields import (
    LEGEND,
    PLANNED,
    TOPICS,
    FieldRow,
    default_of,
    field_lines,
    field_rows,
    field_tables,
    recipe_schema,
    values_of,
)  # fmt: skip
from atrous.plan.rules import DEFAULT_ENCODER, DEFAULT_MODEL, choices_for_images
from atrous.train.recipe import ANY, FROM_DATA, Recipe
from atrous.zoo.shipped import shipped

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
PROPERTIES: dict[str, Any] = recipe_schema()["properties"]
DESCRIBED = {name: str(field.description or "") for name, field in Recipe.model_fields.items()}


def facts(**known: Any) -> Facts:
    """Of pictures of two classes, one of them rare or not."""
    given = {"pictures": 9, "channels": 3, "dtype": "uint8", "sizes": ((300, 400),), "equal": False, "up": None}
    return Facts(**{**given, "frequencies": np.array([75, 25]), **known})


@pytest.mark.parametrize("name", Recipe.model_fields)
def test_a_field_has_a_description(name: str) -> None:
    """One or two sentences, or three short ones: what it is, its unit, what the plan takes."""
    text = DESCRIBED[name]
    assert 15 < len(text) < 220
    assert text.endswith(".")
    assert "\n" not in text
    assert "|" not in text  # it stands in a table
    words = set(text.replace("`", " ").split())
    assert not words & {"TODO", "FIXME"}


def test_topics_begin_at_fields_and_hold_all_in_order() -> None:
    assert set(TOPICS) <= set(Recipe.model_fields)
    assert list(field_rows()) == list(TOPICS.values())
    assert [row.name for rows in field_rows().values() for row in rows] == list(Recipe.model_fields)


def test_what_the_plan_decides_is_said_to_be_planned() -> None:
    decided = set(choices_for_images(facts()))
    assert decided | {"accumulate", "model", "encoder", "weights", "time"} == PLANNED
    for name in {*PLANNED} - {"weights", "accumulate"}:
        assert "The plan takes " in DESCRIBED[name], name


def test_what_the_plan_is_said_to_take_it_takes() -> None:
    found = {name: choice.value for name, choice in choices_for_images(facts()).items()}
    for name in ("lr", "encoder_lr", "ema"):
        said = DESCRIBED[name].split("The plan takes ")[1].split(". ")[0].rstrip(".")
        assert float(said) == found[name], name
    assert f"The plan takes {DEFAULT_MODEL}." in DESCRIBED["model"]
    assert f"The plan takes {DEFAULT_ENCODER}." in DESCRIBED["encoder"]
    assert found["scale"] == (2 / 3, 3 / 2)
    assert "The plan takes 2/3 to 3/2" in DESCRIBED["scale"]
    assert choices_for_images(facts(channels=5))["scale"].value == (1.0, 1.0)
    assert 'takes "ce", and "ce + dice" if a class is rare' in " ".join(DESCRIBED["loss"].split())
    rare = facts(channels=1, frequencies=np.array([10_000, 1]))
    assert (found["loss"], choices_for_images(rare)["loss"].value) == ("ce", "ce + dice")
    assert found["batch"] in (4, 8)


def test_defaults_are_those_of_the_recipe() -> None:
    for name, field in Recipe.model_fields.items():
        shown = default_of(name)
        if shown in LEGEND:
            assert shown != "open" or field.default is None, name
            assert (shown == "by training") == (name in FROM_DATA - PLANNED), name
        else:
            value = tomllib.loads(f"x = {shown}")["x"]
            assert getattr(Recipe(**ANY, **{name: value}), name) == field.get_default(call_default_factory=True), name


@pytest.mark.parametrize("name, values", [
    ("flip", "number 0 to 1"), ("jpeg", "whole number 1 to 100"), ("lr", "number > 0 and <= 1e+06"),
    ("clip", "number 0 to 1e+06"),
    ("smoothing", "number >= 0 and < 1"), ("layer_decay", "number > 0 and <= 1"),
    ("crop", "2 or 3 whole numbers > 0 and <= 65536"),
    ("seed", "whole number >= 0 and < 2^64"), ("channels", "list of whole numbers > 0 and <= 65536"),
    ("mean", "list of numbers -1e+30 to 1e+30"),
    ("extended", "list of pairs of whole numbers > 0 and <= 2^31"), ("freeze", '"encoder", "norms" or "all_norms"'),
    ("aux_weight", "number 0 to 1e+06 or list of numbers 0 to 1e+06"), ("compile", 'true or false or "failed"'),
    ("options", "table"), ("model", "text"), ("fused", "true or false"),
])  # fmt: skip
def test_values_in_words(name: str, values: str) -> None:
    assert values_of(PROPERTIES[name]) == values


def fits(schema: dict[str, Any], value: object) -> bool:
    """Whether a value is as a JSON schema says: the few words of schemas that ours uses, refusing all others."""
    known = {"anyOf", "enum", "const", "type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "items",
             "prefixItems", "minItems", "maxItems", "description", "default", "additionalProperties"}  # fmt: skip
    assert set(schema) <= known, set(schema) - known
    if "anyOf" in schema:
        return any(fits(one, value) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return value in schema.get("enum", [schema.get("const")])
    kind = schema["type"]
    if kind in ("integer", "number"):
        number = isinstance(value, int if kind == "integer" else int | float) and not isinstance(value, bool)
        return number and all((
            value >= schema.get("minimum", value), value <= schema.get("maximum", value),
            "exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"],
            "exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"],
        ))  # fmt: skip
    if kind == "array":
        if not isinstance(value, list) or not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 1e9):
            return False
        kinds = schema.get("prefixItems") or [schema["items"]] * len(value)
        return all(fits(one, item) for one, item in zip(kinds, value, strict=True))
    return isinstance(value, {"boolean": bool, "string": str, "object": dict}[kind])


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_the_schema_takes_every_recipe_that_we_have(path: Path) -> None:
    for name, value in tomllib.loads(path.read_text()).items():
        assert fits(PROPERTIES[name], value), name


@pytest.mark.parametrize("name", shipped())
def test_recipes_of_published_weights_are_valid_and_fit_the_schema(name: str) -> None:
    held = json.loads(json.dumps(load_card(shipped()[name]).recipe))
    made = Recipe(**held).model_dump(mode="json")
    assert {key: made[key] for key in held} == held
    assert all(fits(PROPERTIES[key], value) for key, value in held.items())


@pytest.mark.parametrize("name, value", [
    ("flip", 1.5), ("flip", "often"), ("crop", [32]), ("crop", [32, 0]), ("ema", 1.0), ("freeze", "decoder"),
    ("stride", 0), ("channels", [8, 0]), ("std", [1.0, 0.0]), ("std", []), ("class_weights", [1.0, -1.0]),
    ("aux_weight", -0.1), ("aux_weight", [0.4, -0.1]), ("dtype", "int8"), ("seed", -1), ("seed", 2**64),
    ("val_images", -1), ("fold", [0, 3]), ("extended", [[0, 5]]), ("compile", "maybe"), ("distil_weight", 0),
])  # fmt: skip
def test_the_schema_refuses_what_a_recipe_refuses(name: str, value: object) -> None:
    assert not fits(PROPERTIES[name], value)
    with pytest.raises(ValueError):
        Recipe(**(ANY | {name: value}))


def test_the_schema_asks_for_nothing_and_knows_every_field() -> None:
    schema = recipe_schema()
    assert "required" not in schema
    assert schema["additionalProperties"] is False
    assert list(schema["properties"]) == list(Recipe.model_fields)
    assert {name: one["description"] for name, one in PROPERTIES.items()} == DESCRIBED
    assert "null" not in json.dumps(schema)
    assert PROPERTIES["flip"]["default"] == 0.5
    assert not {name for name in PLANNED if "default" in PROPERTIES[name]}


def test_lines_and_tables_hold_every_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    lines, page = field_lines(), field_tables()
    assert max(map(len, lines)) <= 100
    assert "  flip                number 0 to 1; default: 0.5" in lines
    assert sum(line.startswith("  ") and line[2] != " " for line in lines) == len(Recipe.model_fields)
    flat = " ".join(" ".join(lines).split())
    for row in (row for rows in field_rows().values() for row in rows):
        assert isinstance(row, FieldRow)
        assert row.description in flat, row.name
        assert f"| `{row.name}` | {row.values} | " in page


def test_the_command_lists_them_without_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "--fields") == 0
    assert capsys.readouterr().out.splitlines() == field_lines()
    assert run("plan", "--fields", "--json") == 0
    assert json.loads(capsys.readouterr().out) == recipe_schema()
    assert run("plan") == 2
    assert "DATA is missing" in capsys.readouterr().err
