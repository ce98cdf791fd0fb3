"""The verbs that train: train, demo."""

from pathlib import Path
from typing import Annotated, Any

import typer

from atrous.cli.options import Classes, Ignore, ValidArea
from atrous.cli.values import console_of, crop_size, named_values, seconds
from atrous.errors import AtrousError
from atrous.progress import command, say


def train(  # long: a line for each option
    data: Annotated[Path, typer.Argument(help="Folder with images/ and masks/, in train/val/test folders or not.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Run folder; default runs/<name of DATA>.")] = None,
    model: Annotated[str | None, typer.Option(help="A name of `atrous models`; default deeplabv3plus.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Any timm encoder; default tf_efficientnet_lite0.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps, instead of --time.")] = None,
    time: Annotated[str | None, typer.Option(help="Time for the whole training: 30m, 2h; default 60m.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images per step; default 4, on a GPU 8.")] = None,
    crop: Annotated[str | None, typer.Option(help="Crop as HEIGHTxWIDTH or one side; default from the images.")] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="Highest learning rate; default 0.001.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of all random numbers; default 0.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Loader processes; the result does not depend on them.")] = 0,
    cache: Annotated[str, typer.Option(metavar="SIZE", help="Memory for decoded pictures.")] = "1GiB",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any field of the recipe: rotate=10, scale=[0.5,2]; repeat."),
    ] = None,
    classes: Classes = None,
    ignore: Ignore = None,
    valid_area: ValidArea = None,
    pretrained: Annotated[
        bool | None,
        typer.Option(
            "--pretrained/--no-pretrained", help="Require ImageNet weights, or use none; default: if available."
        ),
    ] = None,
    encoder_weights: Annotated[Path | None, typer.Option(help="A local file of encoder weights.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="An option of the model, as NAME=VALUE: stride=8, aux=true; repeat it.")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(metavar="BUNDLE", help="Start from a trained network: a run, a bundle or a name.")
    ] = None,
    refine: Annotated[
        str | None, typer.Option(metavar="LAYER", help="Train a CRF as the last layer: crfrnn or convcrf.")
    ] = None,
    distil: Annotated[
        Path | None, typer.Option(metavar="BUNDLE", help="Learn also from a trained network's answers.")
    ] = None,
    extend: Annotated[int | None, typer.Option(min=1, metavar="N", help="Give a finished run N steps more.")] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, metavar="K", help="Train K networks, each validated on 1/K of the pictures.")
    ] = None,
    strategy: Annotated[
        str, typer.Option(metavar="NAME", help="Under torchrun or srun: ddp, or fsdp, which shards the weights too.")
    ] = "ddp",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write curves to RUN/tensorboard too.")] = False,
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A recipe, whole or in part (`atrous plan -o FILE`, recipes/*.toml). Other options override it.",
        ),
    ] = None,
) -> None:
    """Train on a folder of images and masks. The same command again resumes; Ctrl-C saves."""
    from atrous.predict.loading import BUNDLE
    from atrous.predict.memory import bytes_of
    from atrous.segmenter import Segmenter, wishes_of
    from atrous.train import processes
    from atrous.train.loggers import TensorBoard
    from atrous.train.recipe import Recipe

    if steps is not None and time is not None:
        raise AtrousError("--steps and --time were both given; give one of them")
    if tensorboard and folds:
        raise AtrousError("--tensorboard is for one run, --folds makes several; leave out one (each has its log.csv)")
    wishes: dict[str, Any] = {
        "batch": batch, "crop": crop_size(crop), "lr": lr, "seed": seed, "options": named_values(option or ()) or None,
        "refine": refine, "init": str(init) if init else None, "model": model, "encoder": encoder, "steps": steps,
        "time": seconds(time) if time else None,
        "pretrained": str(encoder_weights) if encoder_weights else pretrained,
        "distil": str(distil) if distil else None,
    }  # fmt: skip
    settings = named_values(setting or (), "set rotate=10")
    if twice := [name for name in settings if wishes.get(name) is not None]:
        raise AtrousError(f"--set {twice[0]} and --{twice[0].replace('options', 'option')} were both given; give one")
    given = {name: value for name, value in (wishes | settings).items() if value is not None}
    asked = wishes_of(recipe, length=not given.keys() & {"steps", "time"}) if recipe else {}
    if recipe and valid_area is None:
        valid_area = Recipe.decided(recipe).get("valid_area")
    segmenter = Segmenter(**asked | given)
    folder, console = out or Path("runs") / data.resolve().name, processes.voice(console_of())
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
        valid_area=valid_area,
        strategy=strategy,  # type: ignore[arg-type]
        console=console,
    )
    inside = folder / "fold-*" if folds else folder
    say("", console)
    say(f"model  {inside / BUNDLE}", console)
    if list(folder.glob("fold-*/report.html" if folds else "report.html")):  # there is none without a validation
        say(f"report {inside / 'report.html'}", console)
    say(f"next   {command('atrous', 'eval', folder, data)}", console)
    say(f"       {command('atrous', 'predict', 'PICTURES', '--model', folder)}", console)


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Run folder.")] = Path("runs/demo"),
    time: Annotated[str, typer.Option(help="Training time: 90s, 3m, 1h.")] = "4m",
) -> None:
    """Train a land-cover network on satellite images of the Earth, evaluate it, map the world (about 6 minutes)."""
    from atrous.demo.demo import run_demo

    run_demo(out, seconds(time), console_of())
