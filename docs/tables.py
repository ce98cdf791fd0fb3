"""Write the tables that are made from the code and from `docs/results.toml` into README.md (`make docs`)."""

import tomllib
from pathlib import Path

from atrous.models import describe_models

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- models: made by `make docs` -->", "<!-- end of models -->"


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


def with_tables(text: str) -> str:
    """README's text with its tables made anew."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{models_table()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
