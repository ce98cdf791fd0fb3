"""Comparing a network with a reference, and noting how it came out for docs/parity.md.

With ATROUS_PARITY=FILE in the environment (`make parity`) what was found is kept in that JSON file, one row for a
network and a reference; without it only the comparison is made.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn


def compare(
    model: str,
    reference: str,
    ours: torch.Tensor,
    theirs: torch.Tensor,
    *,
    networks: tuple[nn.Module, nn.Module] | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-4,
) -> None:
    """Assert that two tensors agree; note the largest difference, and the parameters of both networks."""
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)
    counts = tuple(sum(p.numel() for p in network.parameters()) for network in networks or ())
    note(model, reference, difference=float((ours - theirs).abs().max()), counts=counts)


def note(model: str, reference: str, *, difference: float | None = None, counts: tuple[int, ...] = ()) -> None:
    """Keep a row: the largest difference of those of one name, the parameters (ours, the reference's)."""
    if "ATROUS_PARITY" not in os.environ:
        return
    path, key = Path(os.environ["ATROUS_PARITY"]), f"{model} | {reference}"
    rows: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    row = rows.setdefault(key, {"model": model, "reference": reference})
    if difference is not None:
        row["difference"] = max(difference, row.get("difference", 0.0))
    if counts:
        row["parameters"] = list(counts)
    path.write_text(json.dumps(dict(sorted(rows.items())), indent=1) + "\n")


def label(name: str, options: dict[str, Any]) -> str:
    """A network as the table calls it: its name, and the options that are not its defaults."""
    told = ", ".join(f"{key}={value}" for key, value in options.items())
    return f"{name} ({told})" if told else name
