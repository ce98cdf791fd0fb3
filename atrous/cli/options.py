"""Options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

Ignore = Annotated[list[int] | None, typer.Option("--ignore", help="Mask value that counts nowhere; may be repeated.")]
Classes = Annotated[Path | None, typer.Option("--classes", help="A classes.toml that names the classes.")]
Split = Annotated[str | None, typer.Option(help="train, val or test; default test, else val, else all.")]
Cluster = Annotated[
    str | None,
    typer.Option(metavar="REGEX", help="What it finds in an image's name is its video or patient, drawn as a whole."),
]
Block = Annotated[int, typer.Option(min=1, help="Frames of a video in order: draw runs of so many neighbours.")]
Decode = Annotated[
    str, typer.Option(metavar="RULE", help="argmax; or iou, dice: labels by what `atrous calibrate` fitted for them.")
]
Refine = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Sharpen by crf, deeplab_v2, graph_cut, guided_filter, ...; tuned: as `atrous tune-crf` found.",
    ),
]
RefineOption = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of the refiner, such as iterations=5; repeat it.")
]
Tidy = Annotated[
    list[str] | None,
    typer.Option(
        metavar="STEP",
        help="minimum_size=PIXELS, keep_largest=CLASS or fill_holes=CLASS, for the label map; repeat it.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
