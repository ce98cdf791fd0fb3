"""What the backends of exported files share: reading the JSON in the file, and giving labels as logits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field, StrictBool, StrictInt, model_validator

from atrous.bundle import Card, checked
from atrous.errors import DataError, WeightsError
from atrous.files import parse_json
from atrous.ops.resize import Tail
from atrous.predict.backends.tails import TailRule

Cells = Annotated[StrictInt, Field(ge=0, le=2**16)]


class Tails(BaseModel):
    """What `TailRule.to_dict` writes."""

    scale: Annotated[StrictInt, Field(ge=1, le=1024)] | None
    shift: Annotated[StrictInt, Field(ge=-(2**16), le=2**16)]
    crop: tuple[Cells, Cells] | None
    align_corners: StrictBool


class About(BaseModel):
    """The part of `graph.describe_graph`'s JSON that is read back, with its bounds."""

    output: Literal["labels", "logits"]
    tail: Tails | None = None
    smallest: Annotated[StrictInt, Field(ge=1, le=2**16)] = 1
    classes: list[str]
    card: dict[str, Any]

    @model_validator(mode="after")
    def _has_a_tail(self) -> "About":
        if self.output == "logits" and self.tail is None:
            raise ValueError("tail: expected a table, since the output is logits")
        return self


class Exported:
    """An exported file as a backend: a graph in some runtime, and what the file says about it.

    run: (N, C, H, W) float32 raw pixels -> the graph's output. about: what `graph.describe_graph` wrote.
    """

    def __init__(self, name: str, run: Callable[[np.ndarray], np.ndarray], about: dict[str, Any]) -> None:
        self.name, self.run, self.about = name, run, about
        self.inside = about["output"] == "labels"
        self.rule = TailRule() if self.inside else TailRule.from_dict(about["tail"])
        self.smallest = int(about.get("smallest", 1))

    def __call__(self, pixels: np.ndarray) -> tuple[torch.Tensor, Tail]:
        """See `Backend`. A graph that gives labels is answered by logits of 0 and 1."""
        size = pixels.shape[:-1]
        if min(size) < self.smallest:
            raise DataError(
                f"the image has {'x'.join(map(str, size))} pixels, but the exported network takes sides from "
                f"{self.smallest} on; use the bundle it was made from"
            )
        found = self.run(np.ascontiguousarray(np.moveaxis(pixels, -1, 0)[None], np.float32))
        if self.inside:
            found = (found[:, None] == np.arange(len(self.about["classes"])).reshape(-1, *[1] * len(size))) * 1.0
        return torch.from_numpy(np.asarray(found, np.float32)), self.rule.tail(size, found.shape[2:])


def read_about(text: str | None, path: Path) -> tuple[dict[str, Any], Card]:
    """The JSON of an exported file, and the card in it."""
    if not text:
        raise WeightsError(f"{path}: carries no atrous metadata; make the file with `atrous export`")
    try:
        about = parse_json(text)
        told = checked(About, about)
        card = Card.from_json(json.dumps(told.card))
        if list(card.labels.names) != told.classes:
            raise ValueError("classes: expected the names in its card")
        return about, card
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its metadata cannot be read ({error}); it may come from a newer atrous") from error
