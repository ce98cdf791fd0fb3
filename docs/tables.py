"""Write the tables that are made from the code, `docs/results.toml` and `docs/parity.json` (`make docs`).

`docs/parity.json` is what the tests measured when they were last run by `make parity`.
"""

import json
import tomllib
from pathlib import Path

from atrous.models import describe_models

HERE = Path(__file__).parent
README, PARITY = HERE.parent / "README.md", HERE / "parity.md"
BEGIN, END = "<!-- models: made by `make docs` -->", "<!-- end of models -->"
PARITY_BEGIN, PARITY_END = "<!-- parity: made by `make parity docs` -->", "<!-- end of parity -->"


def models_table() -> str:
    """One row a model: name, what it is, parameters with 21 classes, what we measured."""
    measured: dict[str, list[str]] = {}
    for result in tomllib.loads((HERE / "results.toml").read_text()).get("result", []):
        text = f"{result['miou']:.3f} on {result['data']} ({result['encoder']}, {result['time']})"
        measured.setdefault(result["model"], []).append(text)
    lines = ["| model | what it is | parameters, 21 classes | measured test mIoU |", "|---|---|---|---|"]
    for row in describe_models():
        encoder = f" ({row['encoder']})" if row["encoder"] else ""
        cells = (
            f"[`{row['name']}`]({row['page']})",
            row["summary"].rstrip("."),
            f"{row['parameters']:,}{encoder}",
            "; ".join(measured.get(row["name"], [])) or "not trained here yet",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parity_table() -> str:
    """One row a network and a reference: the largest difference of logits, and the parameters of both."""
    lines = ["| model | reference | max difference | parameters, ours / reference |", "|---|---|---|---|"]
    for row in json.loads((HERE / "parity.json").read_text()).values():
        difference = f"{row['difference']:.1e}" if "difference" in row else "-"
        counts = " / ".join(f"{count:,}" for count in row.get("parameters", [])) or "-"
        lines.append(f"| {row['model']} | {row['reference']} | {difference} | {counts} |")
    return "\n".join(lines)


def between(text: str, begin: str, table: str, end: str) -> str:
    """A page's text with what stands between two marks replaced."""
    before, rest = text.split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"


def with_tables(text: str) -> str:
    """README's text with its tables made anew."""
    return between(text, BEGIN, models_table(), END)


def with_parity(text: str) -> str:
    """docs/parity.md's text with its table made anew."""
    return between(text, PARITY_BEGIN, parity_table(), PARITY_END)


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
    PARITY.write_text(with_parity(PARITY.read_text()))
