"""Write the tables of docs/models/README.md, parity.md, zoo.md and recipe.md (`make docs`).

They are made from the code, the shipped weights, `docs/records/results.toml` and `docs/records/parity.json`. The last
holds what the tests measured when `make parity` was last run.
"""

import json
import re
import tomllib
from pathlib import Path

from atrous.bundle import load_card
from atrous.models import describe_models
from atrous.plan.fields import LEGEND, LETTER, field_tables
from atrous.zoo.shipped import shipped

HERE = Path(__file__).parent
RECORDS = HERE / "records"
MODELS, PARITY, ZOO = HERE / "models" / "README.md", HERE / "parity.md", HERE / "zoo.md"
RECIPE = HERE / "recipe.md"
BEGIN, END = "<!-- models: made by `make docs` -->", "<!-- end of models -->"
ZOO_BEGIN, ZOO_END = "<!-- weights: made by `make docs` -->", "<!-- end of weights -->"
FIELDS_BEGIN, FIELDS_END = "<!-- fields: made by `make docs` -->", "<!-- end of fields -->"
PARITY_BEGIN, PARITY_END = "<!-- parity: made by `make parity docs` -->", "<!-- end of parity -->"


def models_table() -> str:
    """One row for each model: name, code, what it is, parameters with 21 classes, what we measured."""
    measured: dict[str, list[str]] = {}
    for result in tomllib.loads((RECORDS / "results.toml").read_text()).get("result", []):
        how = [result[key] for key in ("encoder", "time") if key in result]
        text = f"{result['miou']:.3f} on {result['data']} ({', '.join(how)})"
        measured.setdefault(result["model"], []).append(text)
    documented = {
        code: page.name
        for page in sorted(MODELS.parent.glob("*.md"))
        for code in re.findall(r"(\w+\.py)`", page.read_text())
    }  # each page names the files it is about
    lines = [
        "| model | code | what it is | parameters, 21 classes | measured here, test mIoU |",
        "|---|---|---|---|---|",
    ]
    for row in describe_models():
        encoder = f" ({row['encoder']})" if row["encoder"] else ""
        code = Path(row["page"]).name
        cells = (
            f"[`{row['name']}`]({documented[code]})",
            f"[{code}](../../{row['page']})",
            row["summary"].rstrip("."),
            f"{row['parameters']:,}{encoder}",
            "; ".join(measured.get(row["name"], [])) or "–",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parity_table() -> str:
    """One row for each model and reference: largest difference of logits, parameters of both."""
    lines = ["| model | reference | max difference | parameters, ours / reference |", "|---|---|---|---|"]
    for row in json.loads((RECORDS / "parity.json").read_text()).values():
        difference = f"{row['difference']:.1e}" if "difference" in row else "-"
        counts = " / ".join(f"{count:,}" for count in row.get("parameters", [])) or "-"
        lines.append(f"| {row['model']} | {row['reference']} | {difference} | {counts} |")
    return "\n".join(lines)


def weights_table() -> str:
    """One row for each of the weights that come with the package, from their cards."""
    if not shipped():
        return "None yet."
    lines = [
        "| name | data | classes | test mIoU, 95 % interval | training | size | licence |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, path in shipped().items():
        card = load_card(path)
        test, made = card.metrics["test"], card.training
        cells = (
            f"`{name}`",
            card.data,
            str(len(card.labels)),
            f"{test['miou']:.3f} ({test['interval'][0]:.3f} to {test['interval'][1]:.3f}), {test['images']} images",
            f"{made['seconds'] / 60:.0f} minutes on {made['machine']}, {made['images']} images of `{made['split']}`, "
            f"seed {made['seed']}",
            f"{path.stat().st_size / 1e6:.1f} MB",
            card.licence,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def fields_tables() -> str:
    """The words that stand for a default, then the fields of a recipe, one table for each topic."""
    words = "\n".join(f"- default *{word}*: {meaning}" for word, meaning in LEGEND.items())
    return f"{words}\n- {LETTER}\n\n{field_tables()}"


def between(text: str, begin: str, table: str, end: str) -> str:
    """The text of a page, with a new table between two marks."""
    before, rest = text.split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"


def with_models(text: str) -> str:
    """The text of docs/models/README.md with a new table."""
    return between(text, BEGIN, models_table(), END)


def with_weights(text: str) -> str:
    """The text of docs/zoo.md with a new table of the package's own weights."""
    return between(text, ZOO_BEGIN, weights_table(), ZOO_END)


def with_fields(text: str) -> str:
    """The text of docs/recipe.md with new tables."""
    return between(text, FIELDS_BEGIN, fields_tables(), FIELDS_END)


def with_parity(text: str) -> str:
    """The text of docs/parity.md with a new table."""
    return between(text, PARITY_BEGIN, parity_table(), PARITY_END)


if __name__ == "__main__":
    MODELS.write_text(with_models(MODELS.read_text()))
    PARITY.write_text(with_parity(PARITY.read_text()))
    ZOO.write_text(with_weights(ZOO.read_text()))
    RECIPE.write_text(with_fields(RECIPE.read_text()))
