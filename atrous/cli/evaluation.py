"""The verbs that judge: eval, compare, calibrate, tune-crf, report."""

import json
from pathlib import Path
from typing import Annotated

import typer

from atrous.cli.options import (
    Block,
    Classes,
    Cluster,
    Decode,
    Ignore,
    Json,
    Overwrite,
    Refine,
    RefineOption,
    Split,
    Tidy,
    ValidArea,
)
from atrous.cli.values import console_of, named_values, warn
from atrous.progress import say


def evaluate(
    source: Annotated[
        Path, typer.Argument(help="Run folder, bundle, a name of `atrous models`, or a folder of label maps.")
    ],
    data: Annotated[Path, typer.Argument(help="Folder with images/ and masks/.")],
    split: Split = None,
    full: Annotated[
        bool, typer.Option("--full", help="Boundary scores, kinds of errors and calibration too (slower).")
    ] = False,
    as_tool: Annotated[
        str | None,
        typer.Option("--as", metavar="TOOL", help="Also say what this tool would print, and why it differs."),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="surface, regions, cldice or categories too; repeat it."),
    ] = None,
    cluster: Cluster = None,
    block: Block = 1,
    decode: Decode = "argmax",
    calibration: Annotated[
        str,
        typer.Option(metavar="KIND", help="none; or temperature or vector, as `atrous calibrate` fitted them."),
    ] = "none",
    refine: Refine = None,
    refine_option: RefineOption = None,
    tidy: Tidy = None,
    classes: Classes = None,
    ignore: Ignore = None,
    valid_area: ValidArea = None,
    as_json: Json = False,
) -> None:
    """Measure the mIoU of a run, a bundle or a folder of label maps, with its interval, split and policy."""
    from atrous.evaluate.sources import judge
    from atrous.progress import Bar
    from atrous.report import print_evaluation

    console = console_of(stderr=as_json)
    with Bar(console, "eval", 0) as bar:
        judged = judge(
            source,
            data,
            split,
            classes=classes,
            ignore=ignore or (),
            valid_area=valid_area,
            full=full,
            as_tool=as_tool,
            cluster=cluster,
            block=block,
            decode=decode,
            calibration=calibration,
            refine=refine,
            refine_options=named_values(refine_option or ()),
            tidy=tidy or (),
            measures=metrics or (),
            progress=bar.over,
        )
    result = judged.result
    warn([result.remark])
    if as_json:
        asked = {"decode": decode, "calibration": calibration, "refine": refine, "tidy": tidy or []}
        print(json.dumps({**result.summary(), **asked}, indent=1))
    else:
        print_evaluation(result, console)


def compare(
    sources: Annotated[
        list[str], typer.Argument(metavar="A B...", help="Runs, bundles or folders of label maps; seeds as A1,A2,A3.")
    ],
    data: Annotated[Path | None, typer.Option(help="The data; default what the first run was trained on.")] = None,
    split: Split = None,
    cluster: Cluster = None,
    block: Block = 1,
    classes: Classes = None,
    ignore: Ignore = None,
    valid_area: ValidArea = None,
    as_json: Json = False,
) -> None:
    """Say which one is better on the same images, and whether that is more than chance (paired bootstrap)."""
    from atrous.evaluate.compare import compare_all
    from atrous.progress import Bar
    from atrous.report import print_comparisons

    console = console_of(stderr=as_json)
    with Bar(console, "compare", 0) as bar:
        result = compare_all(
            sources,
            data,
            split,
            classes=classes,
            ignore=ignore or (),
            valid_area=valid_area,
            cluster=cluster,
            block=block,
            progress=bar.over,
        )
    warn(result["warnings"])
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        print_comparisons(result, console)


def calibrate(
    run: Annotated[Path, typer.Argument(help="Run folder or bundle; the result is written into the bundle.")],
    data: Annotated[Path | None, typer.Option(help="The data; default what the run was trained on.")] = None,
    split: Annotated[str | None, typer.Option(help="What to fit on; default val.")] = None,
    recall: Annotated[
        list[float] | None, typer.Option(help="Share of each class that sets of classes keep; repeat it; default 0.9.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit, on held-out pictures, how scores become probabilities, labels for the best IoU or Dice, and sets."""
    from atrous.evaluate.calibrate import calibrate as fit_decoding
    from atrous.progress import Bar
    from atrous.report import print_calibration

    console = console_of(stderr=as_json)
    with Bar(console, "calibrate", 0) as bar:
        found = fit_decoding(run, data, split, recalls=recall or (0.9,), progress=bar.over)
    warn(found["warnings"])
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print_calibration(found, run, console)


def tune(
    run: Annotated[Path, typer.Argument(help="Run folder or bundle; the result is written into the bundle.")],
    data: Annotated[Path | None, typer.Argument(help="The data; default what the run was trained on.")] = None,
    split: Annotated[str | None, typer.Option(help="What to search on; default val.")] = None,
    block: Annotated[
        int | None,
        typer.Option(min=1, help="Draw this many neighbours together; default: single pictures, or whole videos."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Search, on held-out pictures, for a CRF or graph cut that helps this model. It may say: leave it off."""
    from atrous.evaluate.tune_crf import tune_crf
    from atrous.progress import Bar
    from atrous.report import print_tuning

    console = console_of(stderr=as_json)
    with Bar(console, "tune", 0) as bar:
        found = tune_crf(run, data, split, block=block, progress=bar.over)
    warn(found["warnings"])
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print_tuning(found, run, console)


def report(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders, bundles or folders of any tool's label maps.")
    ],
    data: Annotated[Path | None, typer.Option(help="The data; default what the first run was trained on.")] = None,
    split: Split = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="Default RUN/report.html; for several comparison.html."),
    ] = None,
    cluster: Cluster = None,
    block: Block = 1,
    classes: Classes = None,
    ignore: Ignore = None,
    valid_area: ValidArea = None,
    overwrite: Overwrite = False,
) -> None:
    """Write one HTML page about one or several runs: scores, intervals, errors, boundaries, calibration, cases."""
    from atrous.progress import Bar
    from atrous.report.write import report_all

    console = console_of()
    with Bar(console, "report", 0) as bar:
        page = report_all(
            sources,
            data,
            split,
            out,
            classes=classes,
            ignore=ignore or (),
            valid_area=valid_area,
            cluster=cluster,
            block=block,
            overwrite=overwrite,
            progress=bar.over,
            say=warn,
        )
    say(f"report {page}", console)
