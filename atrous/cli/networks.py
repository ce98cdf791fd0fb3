"""The verbs about networks and their files: export, import, bench, inspect, models."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from atrous.cli.options import Json, Overwrite
from atrous.cli.values import console_of, crop_size
from atrous.errors import AtrousError
from atrous.progress import command, say


def export(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, bundle, or a name of `atrous models`.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The file; with --triton the repository's folder.")],
    to: Annotated[str, typer.Option(help="onnx, openvino or torch-export.")] = "onnx",
    tail: Annotated[str, typer.Option(help="beside: the file gives logits; inside: it gives labels.")] = "beside",
    int8: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Quantise to 8 bits with this data, and measure the mIoU.")
    ] = None,
    max_drop: Annotated[float, typer.Option(help="The most mIoU, from 0 to 1, that 8 bits may cost.")] = 0.005,
    triton: Annotated[bool, typer.Option("--triton", help="Write a Triton model repository.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Export a network to ONNX, OpenVINO or torch.export, for images of any size; its answers are compared first."""
    from atrous.export.files import export_network
    from atrous.export.int8 import quantised
    from atrous.segmenter import load

    segmenter, drop = load(model, device="cpu"), None
    how: dict[str, Any] = {"to": to, "tail": tail, "overwrite": overwrite}
    if int8 is not None:
        paths, drop = quantised(segmenter.model, segmenter.card, out, int8, max_drop=max_drop, **how)
    else:
        paths, found = export_network(segmenter.model, segmenter.card, out, triton=triton, **how)
        say(f"agrees {found.agreement:.4%} of the labels at {len(found.sizes)} sizes, sides from {found.smallest} on")
    for path in paths:
        say(f"wrote  {path}")
    if drop is not None:
        say(f"mIoU   {drop.before:.4f} in float32, {drop.after:.4f} in int8, on {drop.images} images of {drop.split}")


def import_(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="Weights: .safetensors, .pth, .pt or .bin; nnU-Net's folder.")
    ],
    source: Annotated[str, typer.Option("--from", metavar="TOOLKIT", help="torchvision, smp, mmseg, hf or nnunet.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="The bundle, a .safetensors file.")],
    model: Annotated[
        str | None, typer.Option(help="Our name (deeplabv3) or the toolkit's (deeplabv3_resnet101).")
    ] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="How many classes the network has.")] = None,
    encoder: Annotated[
        str | None, typer.Option(metavar="NAME", help="The toolkit's name of the encoder, unless --model holds it.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Turn another toolkit's weights into a bundle with the same logits. Every tensor must fit.

    nnU-Net's plans tell the network and the classes: of nnunet, --model, --encoder and --classes are left out.
    """
    from atrous.zoo.importer import NNUNET, import_weights, toolkit_of
    from atrous.zoo.nnunet import import_nnunet

    if source == NNUNET:
        given = {"--model": model, "--encoder": encoder, "--classes": classes}
        if wrong := [name for name, value in given.items() if value is not None]:
            raise AtrousError(f"{path}: nnU-Net's plans tell the network and its classes; leave out {wrong[0]}")
        card = import_nnunet(path, out, overwrite=overwrite)
    else:
        toolkit_of(source)
        if model is None or classes is None:
            raise AtrousError(f"{path}: --from {source} needs --model and --classes; give the network and their number")
        card = import_weights(path, source, model, encoder, classes, out, overwrite=overwrite)
    options = ", ".join(f"{key}={value}" for key, value in card.options.items())
    say(f"bundle {out}: {card.model} ({options}), {len(card.labels)} classes")
    say(f"from   {card.data}")
    after = ("inspect", out) if card.volume else ("predict", "PICTURES", "--model", out)
    say(f"next   {command('atrous', *after)}")


def bench(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Run folder, bundle, or a name of `atrous models`.")],
    shape: Annotated[
        list[str] | None, typer.Option("--size", metavar="SIZE", help="HEIGHTxWIDTH or one side; repeat it.")
    ] = None,
    backend: Annotated[list[str] | None, typer.Option(help="torch, onnx, openvino; default all; repeat it.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each backend runs, in turn.")] = 7,
    as_json: Json = False,
) -> None:
    """Time a network on every backend, with this machine's best rate and how far the labels agree."""
    from atrous.predict.backends.bench import bench as time_all
    from atrous.segmenter import load

    segmenter = load(model, device="cpu")
    sizes = [crop_size(text) or (512, 512) for text in shape or ("512",)]
    peak, rows = time_all(segmenter.model, segmenter.card, sizes, backend, rounds)
    if as_json:
        print(json.dumps({"peak_gflops": peak, "rows": [row.summary() for row in rows]}, indent=1))
        return
    say(f"this machine's float32 convolution rate: {peak:.0f} GFLOP/s")
    say(f"{'backend':<14}{'size':>11}{'ms':>9}{'GFLOP/s':>9}{'share':>7}{'MB':>7}  labels equal, where sure")
    for row in rows:
        line = f"{row.backend:<14}{'x'.join(map(str, row.size)):>11}"
        if row.ms is None:
            say(f"{line}  {row.note}")
            continue
        held = "-" if row.memory is None else f"{row.memory / 1e6:.0f}"
        line += f"{row.ms:9.1f}{row.gflops:9.1f}{row.share:7.0%}{held:>7}"
        say(f"{line}  {row.agreement:.4%}, {row.sure:.4%}")


def inspect(
    model: Annotated[str, typer.Argument(help="A network or weights of `atrous models`, a run folder or a bundle.")],
    encoder: Annotated[str | None, typer.Option(help="Any timm encoder; default the model's own.")] = None,
    shape: Annotated[
        tuple[int, int] | None, typer.Option("--size", metavar="H W", help="The image's size; default 512 512.")
    ] = None,
    depth: Annotated[int | None, typer.Option(help="The volume's depth, for 3-D networks; default 64.")] = None,
    classes: Annotated[int | None, typer.Option(help="How many classes; default 21.")] = None,
    channels: Annotated[int | None, typer.Option(help="The image's channels; default 3.")] = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Also measure receptive fields, by gradients in float64.")
    ] = True,
    plot: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write receptive_field.png and architecture.svg there.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Describe a network: stages, receptive fields, costs, sizes, and whether tiles can equal the whole image."""
    from atrous.inspect import inspect_model, print_inspection, refuse_plots, write_plots
    from atrous.models import build_model
    from atrous.predict.loading import is_network
    from atrous.progress import Bar

    if plot is not None and not overwrite:
        refuse_plots(plot)
    given = {"encoder": encoder, "classes": classes, "in_channels": channels}
    wishes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    title = " ".join([model, *(f"{key}={value}" for key, value in wishes.items())])
    if is_network(model):
        from atrous.segmenter import load

        if wishes:
            raise AtrousError(f"{model} is a trained network; leave out --{next(iter(wishes)).replace('in_', '')}")
        network = load(model).model
    else:
        network = build_model(model, **wishes)
    console, volumes = console_of(stderr=as_json), getattr(network, "axes", 2) == 3
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
            say(f"wrote  {path}", console)


def models(
    name: Annotated[str | None, typer.Argument(help="Describe this network: options, papers, weights.")] = None,
    as_json: Json = False,
) -> None:
    """List the networks, with parameters for 21 classes, and the weights by name; or describe one network."""
    if name is not None:
        from atrous.zoo.describe import describe_model

        found = describe_model(name)
        for line in (json.dumps(found.to_dict(), indent=1, default=str) if as_json else str(found)).splitlines():
            say(line)
        return
    from atrous.models import describe_models
    from atrous.zoo.cards import describe_weights, weights_for_network

    rows = describe_models()
    if as_json:
        print(json.dumps([{**row, "weights": weights_for_network(row["name"])} for row in rows], indent=1))
        return
    for row in rows:
        say(f"{row['name']:<14} {row['parameters'] / 1e6:7.2f} M  {row['encoder'] or '-':<10} {row['summary']}")
    say("")
    say("weights by name, for `atrous predict --model NAME`:")
    for line in describe_weights():
        say(line)
