"""Options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

Ignore = Annotated[list[int] | None, typer.Option("--ignore", help="A mask value that counts nowhere; repeat it.")]
ValidArea = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER", help="Fields of view, a folder beside images/: where they are 0, pixels count nowhere."
    ),
]
Classes = Annotated[Path | None, typer.Option("--classes", help="A classes.toml that names the classes.")]
Split = Annotated[str | None, typer.Option(help="train, val or test; default test, else val, else everything.")]
Cluster = Annotated[
    str | None,
    typer.Option(metavar="REGEX", help="Finds the video or patient in an image's name; the bootstrap draws it whole."),
]
Block = Annotated[int, typer.Option(min=1, help="For frames of a video: draw this many neighbours together.")]
Decode = Annotated[
    str, typer.Option(metavar="RULE", help="argmax; or iou or dice: labels as `atrous calibrate` fitted them.")
]
Refine = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Refine by crf, deeplab_v2, graph_cut, guided_filter, ...; tuned: what `atrous tune-crf` found.",
    ),
]
RefineOption = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="A refiner's option, such as iterations=5; repeat it.")
]
Tidy = Annotated[
    list[str] | None,
    typer.Option(
        metavar="STEP",
        help="minimum_size=PIXELS, keep_largest=CLASS or fill_holes=CLASS, for the label map; repeat it.",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that are there, whoever wrote them; never inputs.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
