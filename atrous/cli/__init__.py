"""The command line: one function per verb, everything heavy imported inside.

Exit codes: 0 done, or a training that SIGTERM or SIGUSR1 stopped, everything saved; 1 finished, but some inputs failed
and are named; 2 the input cannot be used; 130 stopped by Ctrl-C, everything saved; 70 a defect of atrous.
"""

import errno
import json
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atrous import __version__
from atrous.errors import AtrousError, Elsewhere
from atrous.train.signals import Interrupted

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="atrous",
    help="Semantic segmentation: train on a folder of images and masks, evaluate honestly, predict fast.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

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
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Run folder.")] = Path("runs/demo"),
    time: Annotated[str, typer.Option(help="Training time: 90s, 3m, 1h.")] = "4m",
) -> None:
    """Train a land-cover network on satellite images of the Earth, evaluate it, map the world (about 6 minutes)."""
    from atrous.demo.demo import run_demo

    run_demo(out, seconds(time), _console())


@app.command()
def check(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of images and their labels, in any layout.")],
    write: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write a mended copy: plain pairs, masks as class indices.")
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="pairs", help="Convert to plain pairs, into -o OUT.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="New folder for --to pairs.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with pictures, such as data-report.html.")
    ] = None,
    classes: Classes = None,
    ignore: Ignore = None,
    as_json: Json = False,
) -> None:
    """Look at every image and mask of a data set: what is wrong, and what to do. Nothing is changed in place.

    Exit code 1 where there is an error, or where --write left a pair out.
    """
    from atrous.doctor import describe, examine, mend, write_page
    from atrous.train.loggers import Bar

    if to not in (None, "pairs") or (to is None) != (out is None):
        raise AtrousError("to convert a data set give both: --to pairs -o OUT, where OUT is a new folder")
    console = _console(stderr=True)
    with Bar(console, "check", 0) as bar:
        found = examine(data, classes=classes, ignore=ignore or (), progress=bar.at)
    failed, document = bool(found.errors), found.summary()
    if not as_json:
        for line in describe(found):
            print(line)
    if html is not None:
        write_page(html, found)
        document["page"] = str(html)
    if write is not None:
        with Bar(console, "write", 0) as bar:
            mended = mend(found, write, bar.at)
        failed = bool(mended.left_out)
        left = [{"file": str(file), "why": why} for file, why in mended.left_out]
        document["written"] = {"out": str(write), "pairs": mended.pairs, "mended": mended.mended, "left_out": left}
        if not as_json:
            print(f"wrote {write}: {mended.pairs} pairs, {mended.mended} of them mended, {len(left)} files left out")
            for file, why in mended.left_out:
                print(f"left out: {file}: {why}")
    if out is not None:
        from atrous.datasets.convert import convert

        with Bar(console, "convert", 0) as bar:
            convert(found.source, out, bar.at, labels=found.labels if classes else None)
        document["converted"] = str(out)
        if not as_json:
            print(f"wrote {out}: {len(found.looks)} pairs from the layout {found.source.layout}")
    if as_json:
        print(json.dumps(document, indent=1))
    if failed:
        raise typer.Exit(1)


@app.command()
def plan(
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="Folder of images or volumes and their labels.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Write the recipe, for `atrous train --recipe`.")
    ] = None,
    time: Annotated[str | None, typer.Option(help="Time for the whole training: 30m, 2h; default 60m.")] = None,
    model: Annotated[str | None, typer.Option(help="A name of `atrous models`.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Any timm encoder.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any field of the recipe; repeat it.")
    ] = None,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Of the GPU that volumes are planned for.")] = "8GB",
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Take some steps, to say how many fit the time.")
    ] = True,
    pretrained: Annotated[bool | None, typer.Option("--pretrained/--no-pretrained", help="As in train.")] = None,
    classes: Classes = None,
    ignore: Ignore = None,
    fields: Annotated[
        bool, typer.Option("--fields", help="List what a recipe may hold; with --json as a schema for editors.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what a data set is and how it would be trained: a recipe, each line of it with its reason."""
    if fields:
        from atrous.plan.fields import field_lines, recipe_schema

        print(json.dumps(recipe_schema(), indent=1) if as_json else "\n".join(field_lines()))
        return
    if data is None:
        raise AtrousError("plan: DATA is missing; give the folder of images and their labels")
    from atrous.plan import plan as plan_for
    from atrous.plan.document import plan_lines
    from atrous.predict.memory import bytes_of
    from atrous.train.loggers import Bar

    console = _console(stderr=True)
    wishes = {"time": seconds(time) if time else None, "model": model, "encoder": encoder, "pretrained": pretrained}
    settings = named_values(setting or (), "set rotate=10")
    with Bar(console, "plan", 0) as bar:
        found = plan_for(
            data,
            classes=classes,
            ignore=ignore or (),
            measure=measure,
            memory=bytes_of(memory, "--memory"),
            progress=bar.at,
            say=lambda text: console.print(text, markup=False, highlight=False),
            **{name: value for name, value in (wishes | settings).items() if value is not None},
        )
    if as_json:
        print(json.dumps(found.summary(), indent=1))
    else:
        for line in plan_lines(found):
            print(line)
    if out is not None:
        if found.recipe_file is None:
            raise AtrousError(f"{out}: a plan for volumes is no recipe that training takes; --json prints it")
        found.recipe_file.save(out)
        print(f"wrote {out}: atrous train {data} --recipe {out}", file=sys.stderr)


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Folder with images/ and masks/, in train/val/test folders or not.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Run folder; default runs/<name of DATA>.")] = None,
    model: Annotated[str | None, typer.Option(help="A name of `atrous models`; default deeplabv3plus.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Any timm encoder; default tf_efficientnet_lite0.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps, instead of --time.")] = None,
    time: Annotated[str | None, typer.Option(help="Time for the whole training: 30m, 2h; default 60m.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images per step; default 4, on a GPU 8.")] = None,
    crop: Annotated[str | None, typer.Option(help="Crop as HEIGHTxWIDTH or one side; default from the images.")] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="Peak learning rate; default 0.001.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random; default 0.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Loader processes; the result does not depend on them.")] = 0,
    cache: Annotated[str, typer.Option(metavar="SIZE", help="Memory for decoded pictures.")] = "1GiB",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any field of the recipe: rotate=10, scale=[0.5,2]; repeat."),
    ] = None,
    classes: Classes = None,
    ignore: Ignore = None,
    pretrained: Annotated[
        bool | None,
        typer.Option(
            "--pretrained/--no-pretrained", help="Insist on ImageNet weights, or do without; default: if to be had."
        ),
    ] = None,
    encoder_weights: Annotated[Path | None, typer.Option(help="A local file of encoder weights.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="Of the model's page, as NAME=VALUE: stride=8, skips=[16,8]; repeat it.")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(metavar="BUNDLE", help="Start from a trained network: a run, a bundle or a name.")
    ] = None,
    refine: Annotated[
        str | None, typer.Option(metavar="LAYER", help="A CRF that learns, as the last layer: crfrnn or convcrf.")
    ] = None,
    distil: Annotated[
        Path | None, typer.Option(metavar="BUNDLE", help="Learn from the answers of a trained network too.")
    ] = None,
    extend: Annotated[int | None, typer.Option(min=1, metavar="N", help="Give a finished run N steps more.")] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, metavar="K", help="Train K networks, each validated on 1/K of the pictures.")
    ] = None,
    strategy: Annotated[
        str, typer.Option(metavar="NAME", help="Under torchrun or srun: ddp, or fsdp, which deals out the weights too.")
    ] = "ddp",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Curves in RUN/tensorboard too.")] = False,
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of `atrous plan -o FILE` or of recipes/; other options go before it."),
    ] = None,
) -> None:
    """Train on a folder of images and masks. The same command again resumes; Ctrl-C saves."""
    from atrous.predict.memory import bytes_of
    from atrous.segmenter import Segmenter, wishes_of
    from atrous.train import processes
    from atrous.train.loggers import TensorBoard

    if steps is not None and time is not None:
        raise AtrousError("--steps and --time were both given; give one of them")
    if tensorboard and folds:
        raise AtrousError("--tensorboard draws one run, --folds makes several; leave one away (each has its log.csv)")
    wishes: dict[str, Any] = {
        "batch": batch, "crop": size(crop), "lr": lr, "seed": seed, "options": named_values(option or ()) or None,
        "refine": refine, "init": str(init) if init else None, "model": model, "encoder": encoder, "steps": steps,
        "time": seconds(time) if time else None,
        "pretrained": str(encoder_weights) if encoder_weights else pretrained,
        "distil": str(distil) if distil else None,
    }  # fmt: skip
    settings = named_values(setting or (), "set rotate=10")
    if twice := [name for name in settings if wishes.get(name) is not None]:
        raise AtrousError(f"--set {twice[0]} and --{twice[0].replace('options', 'option')} were both given; give one")
    given = {name: value for name, value in (wishes | settings).items() if value is not None}
    segmenter = Segmenter(**(wishes_of(recipe, steps is None and time is None) if recipe else {}) | given)
    folder, console = out or Path("runs") / data.resolve().name, processes.voice(_console())
    segmenter.fit(
        data,
        folder,
        workers=workers,
        cache_mb=bytes_of(cache, "--cache") / 2**20,
        folds=folds,
        extend=extend,
        loggers=[TensorBoard(folder / "tensorboard")] if tensorboard else [],
        classes=classes,
        ignore=ignore or (),
        strategy=strategy,  # type: ignore[arg-type]
        console=console,
    )
    inside = folder / "fold-*" if folds else folder
    console.print(f"\nmodel  {inside / 'model.safetensors'}\nreport {inside / 'report.html'}", highlight=False)
    console.print(f"next   atrous eval {folder} {data}\n       atrous predict PICTURES --model {folder}")


@app.command("eval")
def evaluate(
    source: Annotated[
        Path, typer.Argument(help="Run folder, bundle, a name of `atrous models`, or folder of any tool's label maps.")
    ],
    data: Annotated[Path, typer.Argument(help="Folder with images/ and masks/.")],
    split: Split = None,
    full: Annotated[
        bool, typer.Option("--full", help="Boundary scores, kinds of errors and calibration too (slower).")
    ] = False,
    as_tool: Annotated[
        str | None, typer.Option("--as", metavar="TOOL", help="Say what this tool prints, and why it differs.")
    ] = None,
    cluster: Cluster = None,
    block: Block = 1,
    decode: Decode = "argmax",
    calibration: Annotated[
        str,
        typer.Option(metavar="KIND", help="none; or temperature, vector: probabilities as `atrous calibrate` fitted."),
    ] = "none",
    refine: Refine = None,
    refine_option: RefineOption = None,
    classes: Classes = None,
    ignore: Ignore = None,
    as_json: Json = False,
) -> None:
    """Measure mIoU of a run, a bundle or a folder of predictions; the split and the policy are printed beside it."""
    from atrous.evaluate.sources import judge
    from atrous.report import print_evaluation
    from atrous.train.loggers import Bar

    console = _console(stderr=as_json)
    with Bar(console, "eval", 0) as bar:
        result = judge(
            source,
            data,
            split,
            classes=classes,
            ignore=ignore or (),
            full=full,
            as_tool=as_tool,
            cluster=cluster,
            block=block,
            decode=decode,
            calibration=calibration,
            refine=refine,
            refine_options=named_values(refine_option or ()),
            progress=bar.over,
        )
    if as_json:
        asked = {"decode": decode, "calibration": calibration, "refine": refine}
        print(json.dumps({**result.summary(), **asked}, indent=1))
    else:
        print_evaluation(result, console)


@app.command()
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
    as_json: Json = False,
) -> None:
    """Say which is better on the same images and whether that is more than chance: paired bootstrap, permutations."""
    from atrous.evaluate.sources import compare_all
    from atrous.report import print_comparisons
    from atrous.train.loggers import Bar

    console = _console(stderr=as_json)
    with Bar(console, "compare", 0) as bar:
        result = compare_all(
            sources,
            data,
            split,
            classes=classes,
            ignore=ignore or (),
            cluster=cluster,
            block=block,
            progress=bar.over,
        )
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        print_comparisons(result, console)


@app.command()
def calibrate(
    run: Annotated[Path, typer.Argument(help="Run folder or bundle; the result is written into the bundle.")],
    data: Annotated[Path | None, typer.Option(help="The data; default what the run was trained on.")] = None,
    split: Annotated[str | None, typer.Option(help="What to fit on; default val.")] = None,
    recall: Annotated[
        list[float] | None, typer.Option(help="Share of each class that the sets keep; may be repeated; default 0.9.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit on held-out pictures how scores become probabilities, labels of the best IoU or Dice, and sets of classes."""
    from atrous.evaluate.calibrate import calibrate as fit
    from atrous.report import print_calibration
    from atrous.train.loggers import Bar

    console = _console(stderr=as_json)
    with Bar(console, "calibrate", 0) as bar:
        found = fit(run, data, split, recalls=recall or (0.9,), progress=bar.over)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print_calibration(found, run, console)


@app.command("tune-crf")
def tune(
    run: Annotated[Path, typer.Argument(help="Run folder or bundle; the result is written into the bundle.")],
    data: Annotated[Path | None, typer.Argument(help="The data; default what the run was trained on.")] = None,
    split: Annotated[str | None, typer.Option(help="What to search on; default val.")] = None,
    block: Annotated[
        int | None,
        typer.Option(min=1, help="Draw runs of so many neighbours; default: pictures, or whole videos."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Search on held-out pictures for a CRF or graph cut that sharpens this model; it may say to leave it off."""
    from atrous.evaluate.tune_crf import tune_crf
    from atrous.report import print_tuning
    from atrous.train.loggers import Bar

    console = _console(stderr=as_json)
    with Bar(console, "tune", 0) as bar:
        found = tune_crf(run, data, split, block=block, progress=bar.over)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print_tuning(found, run, console)


@app.command()
def report(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders, bundles or folders of any tool's label maps.")
    ],
    data: Annotated[Path | None, typer.Option(help="The data; default what the first run was trained on.")] = None,
    split: Split = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="Default RUN/report.html; of several comparison.html."),
    ] = None,
    cluster: Cluster = None,
    block: Block = 1,
    classes: Classes = None,
    ignore: Ignore = None,
) -> None:
    """Write one HTML page of one or several runs: scores, intervals, errors, boundaries, calibration, cases."""
    from atrous.report.write import report_all
    from atrous.train.loggers import Bar

    console = _console()
    with Bar(console, "report", 0) as bar:
        page = report_all(
            sources,
            data,
            split,
            out,
            classes=classes,
            ignore=ignore or (),
            cluster=cluster,
            block=block,
            progress=bar.over,
        )
    console.print(f"report {page}", markup=False, highlight=False)


@app.command()
def predict(
    inputs: Annotated[list[str], typer.Argument(metavar="IN...", help="Images, folders or globs.")],
    model: Annotated[
        Path, typer.Option("--model", help="Run folder, bundle, exported .onnx or .xml, or a name of `atrous models`.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("predictions"),
    window: Annotated[int | None, typer.Option(min=0, help="Side of the windows; 0: whole; default by size.")] = None,
    decode: Decode = "argmax",
    backend: Annotated[
        str, typer.Option(help="torch, onnx, openvino; auto: the fastest on this machine that gives torch's labels.")
    ] = "auto",
    recall: Annotated[
        float | None,
        typer.Option(help="Write OUT/uncertain/<stem>.png too: white where to abstain to keep this recall."),
    ] = None,
    refine: Refine = None,
    refine_option: RefineOption = None,
    overlap: Annotated[float, typer.Option(help="Share of a window that neighbours have in common.")] = 0.25,
    blend: Annotated[str, typer.Option(help="gaussian or uniform: what counts where windows overlap.")] = "gaussian",
    flip: Annotated[bool, typer.Option("--flip", help="Average with the mirrored picture.")] = False,
    scales: Annotated[str | None, typer.Option(metavar="LIST", help="Average over these sizes: 0.75,1,1.25.")] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Tiles whose labels are those of the whole picture, or the reason why not.")
    ] = False,
    max_ram: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Choose windows so that the process holds no more: 2GB.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="The I-th of N equal shares of the pictures, from 1 on.")
    ] = None,
    smooth: Annotated[
        float, typer.Option(help="Of a video: share of the frames before in a frame's scores, 0 to less than 1.")
    ] = 0.0,
) -> None:
    """Label pictures: OUT/<stem>.png (index PNG with palette) and OUT/overlays/<stem>.jpg, sizes kept.

    GeoTIFF, Zarr and video keep their kind: .tif, .zarr, .mkv.
    """
    from atrous.export.without_torch import label_pictures, suits, takes
    from atrous.io import find_images, is_mapped, target_of, there
    from atrous.train.loggers import Bar

    paths = find_images(inputs)
    targets = {path: target_of(path, out) for path in paths}
    check_targets(targets)
    paths = share_of(paths, shard)
    targets = {path: targets[path] for path in paths}
    if not there("rasterio") and (mapped := [path for path in paths if is_mapped(path)]):
        print(f"note: {mapped[0]} and its like lose their place on the map; `pip install 'atrous[geo]'` keeps it",
              file=sys.stderr)  # fmt: skip
    wishes: dict[str, Any] = {
        "window": window,
        "overlap": overlap,
        "weights": blend,
        "flip": flip,
        "scales": numbers("--scales", scales or "1"),
        "exact": exact,
    }
    default = (None, 0.25, "gaussian", False, None, False, None, "argmax", None, None)
    asked = (window, overlap, blend, flip, scales, exact, max_ram, decode, recall, refine)
    plain = backend in ("auto", "onnx") and asked == default and all(one.suffix == ".png" for one in targets.values())
    if plain and suits(model, paths) and takes(model, paths):
        with Bar(_console(), "predict", len(paths)) as bar:
            failed = label_pictures(model, targets, out, bar.over)
        conclude(len(paths) - len(failed), failed, out)
        return
    from atrous.predict.memory import bytes_of
    from atrous.predict.stream import predict_files
    from atrous.segmenter import load

    segmenter = load(
        model,
        backend=backend,
        decode=decode,
        recall=recall,
        refine=refine,
        refine_options=named_values(refine_option or ()),
        max_ram=bytes_of(max_ram) if max_ram else None,
        **wishes,
    )
    measured: list[str] = []
    with Bar(_console(), "predict", len(paths)) as bar:
        done, failed = predict_files(
            segmenter.predictor, paths, out, smooth=smooth, progress=bar.over, say=measured.append
        )
    for sentence in measured:
        print(sentence)
    conclude(done, failed, out)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, bundle, or a name of `atrous models`.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The file; with --triton the repository's folder.")],
    to: Annotated[str, typer.Option(help="onnx, openvino or torch-export.")] = "onnx",
    tail: Annotated[str, typer.Option(help="beside: the file gives logits; inside: it gives labels.")] = "beside",
    int8: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Quantise to 8 bits on this data's pictures; mIoU is measured.")
    ] = None,
    max_drop: Annotated[float, typer.Option(help="The most mIoU, from 0 to 1, that 8 bits may cost.")] = 0.005,
    triton: Annotated[bool, typer.Option("--triton", help="Write a model repository of Triton's.")] = False,
) -> None:
    """Write a network for ONNX Runtime, OpenVINO or torch.export: any size, checked against the network first."""
    from atrous.export.files import export_network
    from atrous.export.int8 import quantised
    from atrous.segmenter import load

    segmenter, drop = load(model, device="cpu"), None
    if int8 is not None:
        paths, drop = quantised(segmenter.model, segmenter.card, out, int8, to=to, max_drop=max_drop, tail=tail)
    else:
        paths, found = export_network(segmenter.model, segmenter.card, out, to=to, tail=tail, triton=triton)
        print(f"agrees {found.agreement:.4%} of the labels at {len(found.sizes)} sizes, sides from {found.smallest} on")
    for path in paths:
        print(f"wrote  {path}")
    if drop is not None:
        print(f"mIoU   {drop.before:.4f} in float32, {drop.after:.4f} in int8, on {drop.images} images of {drop.split}")


@app.command()
def refine(
    source: Annotated[
        Path, typer.Argument(metavar="PROBS_OR_MASKS", help="Folder of (K, H, W) .npy/.npz or of label maps.")
    ],
    images: Annotated[Path, typer.Argument(help="Folder of the images they belong to, by their names.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("refined"),
    crf: Annotated[
        str, typer.Option(metavar="NAME", help="A preset of the dense CRF, graph_cut, icm, guided_filter, ...")
    ] = "crf",
    option: RefineOption = None,
    certainty: Annotated[float, typer.Option(help="How far label maps are believed, between 0 and 1.")] = 0.7,
    ignore: Ignore = None,
) -> None:
    """Sharpen probabilities or label maps of any tool by their images' colours: OUT/<stem>.png."""
    from atrous.predict.refine_folder import refine_folder
    from atrous.train.loggers import Bar

    with Bar(_console(), "refine", 0) as bar:
        done, failed = refine_folder(
            source,
            images,
            out,
            crf,
            named_values(option or ()),
            certainty=certainty,
            ignore=ignore or (),
            progress=bar.over,
        )
    conclude(done, failed, out)


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Weights: .safetensors, .pth, .pt or .bin.")],
    source: Annotated[str, typer.Option("--from", metavar="TOOLKIT", help="torchvision, smp, mmseg or hf.")],
    model: Annotated[str, typer.Option(help="Our name (deeplabv3) or the toolkit's (deeplabv3_resnet101).")],
    classes: Annotated[int, typer.Option(min=1, help="How many classes the network has.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="The bundle, a .safetensors file.")],
    encoder: Annotated[
        str | None, typer.Option(metavar="NAME", help="The toolkit's name of the encoder, unless --model holds it.")
    ] = None,
) -> None:
    """Turn another toolkit's weights into a bundle that gives the same logits; every tensor must fit."""
    from atrous.zoo.importer import import_weights

    card = import_weights(path, source, model, encoder, classes, out)
    options = ", ".join(f"{key}={value}" for key, value in card.options.items())
    print(f"bundle {out}: {card.model} ({options}), {len(card.labels)} classes")
    print(f"from   {card.data}")
    print(f"next   atrous predict PICTURES --model {out}")


@app.command()
def bench(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Run folder, bundle, or a name of `atrous models`.")],
    shape: Annotated[
        list[str] | None, typer.Option("--size", metavar="SIZE", help="HEIGHTxWIDTH or one side; repeat it.")
    ] = None,
    backend: Annotated[list[str] | None, typer.Option(help="torch, onnx, openvino; default all; repeat it.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Each backend runs so often, in turn.")] = 7,
    as_json: Json = False,
) -> None:
    """Time a network on every backend, beside what this machine can do at best and how far the labels agree."""
    from atrous.predict.backends.bench import bench as time_all
    from atrous.segmenter import load

    segmenter = load(model, device="cpu")
    sizes = [size(text) or (512, 512) for text in shape or ("512",)]
    peak, rows = time_all(segmenter.model, segmenter.card, sizes, backend, rounds)
    if as_json:
        print(json.dumps({"peak_gflops": peak, "rows": [row.summary() for row in rows]}, indent=1))
        return
    print(f"this machine's float32 convolution rate: {peak:.0f} GFLOP/s")
    print(f"{'backend':<14}{'size':>11}{'ms':>9}{'GFLOP/s':>9}{'share':>7}{'MB':>7}  labels equal, where sure")
    for row in rows:
        line = f"{row.backend:<14}{'x'.join(map(str, row.size)):>11}"
        if row.ms is None:
            print(f"{line}  {row.note}")
            continue
        held = "-" if row.memory is None else f"{row.memory / 1e6:.0f}"
        line += f"{row.ms:9.1f}{row.gflops:9.1f}{row.share:7.0%}{held:>7}"
        print(f"{line}  {row.agreement:.4%}, {row.sure:.4%}")


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="A network or weights of `atrous models`, a run folder or a bundle.")],
    encoder: Annotated[str | None, typer.Option(help="Any timm encoder; default the model's own.")] = None,
    shape: Annotated[
        tuple[int, int] | None, typer.Option("--size", metavar="H W", help="Of the image; default 512 512.")
    ] = None,
    depth: Annotated[int | None, typer.Option(help="Of the volume, for networks on volumes; default 64.")] = None,
    classes: Annotated[int | None, typer.Option(help="Default 21.")] = None,
    channels: Annotated[int | None, typer.Option(help="Of the image; default 3.")] = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Measure receptive fields too, by gradients in float64.")
    ] = True,
    plot: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write receptive_field.png and architecture.svg there.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a network is: stages, receptive fields, costs, sizes, and whether tiles can equal the whole image."""
    from atrous.inspect import inspect_model, print_inspection, write_plots
    from atrous.models import create_model
    from atrous.train.loggers import Bar
    from atrous.zoo.fetch import names

    given = {"encoder": encoder, "classes": classes, "in_channels": channels}
    wishes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    title = " ".join([model, *(f"{key}={value}" for key, value in wishes.items())])
    if Path(model).exists() or model.endswith(".safetensors") or model in names():
        from atrous.segmenter import load

        if wishes:
            raise AtrousError(f"{model} holds its own network; leave out --{next(iter(wishes)).replace('in_', '')}")
        network = load(model).model
    else:
        network = create_model(model, **wishes)
    console, volumes = _console(stderr=as_json), getattr(network, "axes", 2) == 3
    if depth is not None and not volumes:
        raise AtrousError(f"--depth {depth}: {model} takes images; give --size alone")
    whole = (depth or 64, *(shape or (128, 128))) if volumes and (shape or depth is not None) else shape
    with Bar(console, "inspect", 0) as bar:
        found = inspect_model(network, whole, measure=measure, progress=bar.over)
    if as_json:
        print(json.dumps({"model": model, "options": wishes, **found.summary()}, indent=1))
    else:
        print_inspection(found, title, console)
    if plot is not None:
        for path in write_plots(network, found, title, plot):
            console.print(f"wrote  {path}", markup=False, highlight=False)


@app.command()
def models(as_json: Json = False) -> None:
    """List the networks: name, parameters with 21 classes, what it is; and the weights that `predict` knows by name."""
    from atrous.models import describe_models
    from atrous.zoo.cards import describe_weights, weights_of

    rows = describe_models()
    if as_json:
        print(json.dumps([{**row, "weights": weights_of(row["name"])} for row in rows], indent=1))
        return
    for row in rows:
        print(f"{row['name']:<14} {row['parameters'] / 1e6:7.2f} M  {row['encoder'] or '-':<10} {row['summary']}")
    print("\nweights by name, for `atrous predict --model NAME`:")
    for line in describe_weights():
        print(line)


def conclude(done: int, failed: Sequence[str], out: Path) -> None:
    """Name what failed and say what was done; exit code 1 where some did, 2 where all did."""
    for sentence in failed:
        print(f"failed: {sentence}", file=sys.stderr)
    print(f"{done} of {done + len(failed)} label maps in {out}")
    if failed:
        raise typer.Exit(1 if done else 2)


def check_targets(targets: dict[Path, Path]) -> None:
    """Refuse to write two pictures to one file, or over an input."""
    seen: dict[Path, Path] = {}
    for path, target in targets.items():
        if target.resolve() == path.resolve():
            raise AtrousError(f"{path}: its label map would overwrite it; give another -o folder")
        if target in seen:
            raise AtrousError(
                f"{seen[target]} and {path} would both be written to {target}; predict them into two -o folders"
            )
        seen[target] = path


def share_of(paths: Sequence[Path], text: str | None) -> list[Path]:
    """The i-th of n equal shares, for `i/n` with i from 1 on: every n-th path. None: all."""
    if text is None:
        return list(paths)
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise AtrousError(f"--shard {text}: expected I/N, such as 1/4 for the first of four shares")
    return list(paths[int(match[1]) - 1 :: int(match[2])])


def numbers(option: str, text: str) -> tuple[float, ...]:
    """'0.75,1,1.25' -> the numbers."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise AtrousError(f"{option} {text}: expected numbers between commas, such as 0.75,1,1.25") from None


def seconds(text: str) -> float:
    """'90s', '30m', '1h30m' -> seconds."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip())
    if not match or not any(match.groups()):
        raise AtrousError(f"--time {text}: not a time; expected for example 90s, 30m or 1h30m")
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + rest


def named_values(texts: Sequence[str], example: str = "option stride=8") -> dict[str, Any]:
    """NAME=VALUE, ... as a dict; a value is one of TOML, and plain words need no quotes."""
    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise AtrousError(f"option {text!r}: give a name and a value, as in --{example}")
        try:
            options[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            options[name] = value
    return options


def size(text: str | None) -> tuple[int, int] | None:
    """'320' or '256x512' -> (height, width)."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:[x,](\d+))?", text.strip())
    if not match or int(match[1]) < 1 or match[2] == "0":
        raise AtrousError(f"--crop {text}: not a size; expected one side (320) or HEIGHTxWIDTH (256x512)")
    return int(match[1]), int(match[2] or match[1])


def _console(stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(soft_wrap=True, stderr=stderr)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"atrous {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Semantic segmentation: train on a folder of images and masks, evaluate honestly, predict fast."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every failure is one sentence on stderr, a traceback only with --debug."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        app(arguments)
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        sys.exit(explain(error))


FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a full disk says, or a share of it that is used up."""


def explain(error: BaseException) -> int:
    """Print an error as one sentence and return the exit code."""
    if isinstance(error, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
        return 130
    if isinstance(error, Elsewhere):  # said by the process of the run that it was in
        return error.cause.code if isinstance(error.cause, Interrupted) else 2
    if isinstance(error, Interrupted):
        print(error, file=sys.stderr)
        return error.code
    if isinstance(error, AtrousError):
        print(f"error: {error}", file=sys.stderr)
        return 2
    if isinstance(error, OSError) and error.strerror:
        room = "; make room and give the same command again" if error.errno in FULL else ""
        print(f"error: {error.filename or 'a file'}: {error.strerror}{room}", file=sys.stderr)
        return 2
    print(f"internal error: {type(error).__name__}: {error}; --debug shows where", file=sys.stderr)
    return 70
