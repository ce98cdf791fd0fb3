"""The verbs that label pictures: predict, refine."""

import hashlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from atrous.cli.options import Decode, Ignore, Overwrite, Refine, RefineOption, Tidy
from atrous.cli.values import conclude, console_of, named_values, numbers, share_of
from atrous.errors import AtrousError
from atrous.files import alone
from atrous.progress import say


def predict(  # long: a line for each option
    inputs: Annotated[list[str], typer.Argument(metavar="IN...", help="Images, folders or globs.")],
    model: Annotated[
        Path, typer.Option("--model", help="Run folder, bundle, exported .onnx or .xml, or a name of `atrous models`.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("predictions"),
    window: Annotated[int | None, typer.Option(min=0, help="Side of the windows; 0: whole; default by size.")] = None,
    decode: Decode = "argmax",
    backend: Annotated[
        str, typer.Option(help="torch, onnx, openvino; auto: the fastest here whose labels agree with torch's.")
    ] = "auto",
    recall: Annotated[
        float | None,
        typer.Option(help="Also write OUT/uncertain/<stem>.png: white where no label keeps this recall."),
    ] = None,
    refine: Refine = None,
    refine_option: RefineOption = None,
    tidy: Tidy = None,
    overlap: Annotated[float, typer.Option(help="Share of a window that it shares with its neighbour.")] = 0.25,
    blend: Annotated[str, typer.Option(help="gaussian or uniform: weights where windows overlap.")] = "gaussian",
    flip: Annotated[bool, typer.Option("--flip", help="Average with the mirrored picture.")] = False,
    scales: Annotated[str | None, typer.Option(metavar="LIST", help="Average over these sizes: 0.75,1,1.25.")] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Use tiles whose labels equal the whole picture's, or say why none do.")
    ] = False,
    max_ram: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Choose windows so that the process stays below this: 2GB.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="The I-th of N equal shares of the pictures, from 1 on.")
    ] = None,
    smooth: Annotated[
        float, typer.Option(help="For videos: weight of the earlier frames in a frame's scores, in [0, 1).")
    ] = 0.0,
    overwrite: Overwrite = False,
) -> None:
    """Label pictures: OUT/<stem>.png (index PNG with palette) and OUT/overlays/<stem>.jpg, sizes kept.

    GeoTIFF, Zarr and video keep their kind: .tif, .zarr, .mkv. Volumes: OUT/<stem>.nii.gz on their own grid, or the
    one file that -o names (.nii.gz, .nrrd, .mha; of DICOM also .dcm, a SEG).
    """
    from atrous.export.without_torch import label_pictures, suits, takes
    from atrous.io import VIDEO_SUFFIXES, find_images, is_mapped, overlay_of, target_of, there, uncertain_of
    from atrous.io.claims import claim, refuse_inside
    from atrous.io.paths import left_out
    from atrous.io.scans import find_volumes
    from atrous.progress import Bar

    refuse_inside(out, inputs)
    if volumes := find_volumes(inputs):
        named: dict[str, Any] = {
            "window": window, "flip": flip, "overlap": overlap, "weights": blend, "decode": decode, "recall": recall,
            "refine": refine, "tidy": tidy, "backend": backend, "scales": scales, "exact": exact, "max_ram": max_ram,
        }  # fmt: skip
        usual = (None, False, 0.25, "gaussian", "argmax", "auto")
        given = {name: value for name, value in named.items() if value not in usual}
        _label_volumes(share_of(volumes, shard), model, out, overwrite, given)
        return
    paths = find_images(inputs)
    for note in filter(None, (left_out(Path(given)) for given in inputs if Path(given).is_dir())):
        say(f"note: {note}", sys.stderr)
    targets = {path: target_of(path, out) for path in paths}
    if smooth and not any(path.suffix.lower() in VIDEO_SUFFIXES for path in paths):
        raise AtrousError(f"--smooth {smooth:g}: averages the frames of a video, and there is none here; leave it out")
    written = {path: [targets[path], overlay_of(path, out)] for path in paths}
    if recall is not None:
        written = {path: [*files, uncertain_of(path, out)] for path, files in written.items()}
    claim(out, written, overwrite=overwrite)
    paths = share_of(paths, shard)
    targets = {path: targets[path] for path in paths}
    if not there("rasterio") and (mapped := [path for path in paths if is_mapped(path)]):
        say(
            f"note: {mapped[0]} and others lose their map coordinates; `pip install 'atrous[geo]'` keeps them",
            sys.stderr,
        )
    wishes: dict[str, Any] = {
        "window": window,
        "overlap": overlap,
        "weights": blend,
        "flip": flip,
        "scales": numbers("--scales", scales or "1"),
        "exact": exact,
    }
    default = (None, 0.25, "gaussian", False, None, False, None, "argmax", None, None, None, None, 0.0)
    asked = (window, overlap, blend, flip, scales, exact, max_ram, decode, recall, refine, refine_option, tidy, smooth)
    plain = backend in ("auto", "onnx") and asked == default and all(one.suffix == ".png" for one in targets.values())
    # the shares of a task work side by side, two networks do not
    task = hashlib.sha256(repr((model, backend, asked)).encode(errors="replace")).hexdigest()
    with alone(out, task=task):
        if plain and suits(model, paths) and takes(model, paths):
            with Bar(console_of(), "predict", len(paths)) as bar:
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
            tidy=tidy or (),
            max_ram=bytes_of(max_ram) if max_ram else None,
            **wishes,
        )
        measured: list[str] = []
        with Bar(console_of(), "predict", len(paths)) as bar:
            done, failed = predict_files(
                segmenter.predictor, paths, out, smooth=smooth, progress=bar.over, say=measured.append
            )
        for sentence in measured:
            say(sentence)
        conclude(done, failed, out)


def _label_volumes(paths: list[Path], model: Path, out: Path, overwrite: bool, wishes: dict[str, Any]) -> None:
    """`predict` for volumes."""
    from atrous.io.claims import claim
    from atrous.predict.loading import load_predictor
    from atrous.predict.volume import VolumePredictor
    from atrous.predict.volume_files import predict_volumes, volume_targets
    from atrous.progress import Bar

    targets = volume_targets(paths, out)
    folder = out if len(targets[paths[0]]) > 1 else out.parent
    claim(folder, targets, overwrite=overwrite)
    with alone(folder, task=hashlib.sha256(repr((model, wishes)).encode(errors="replace")).hexdigest()):
        predictor = load_predictor(model, **wishes)
        if not isinstance(predictor, VolumePredictor):
            raise AtrousError(f"{model}: was trained on pictures; {paths[0]} is a volume, give a network of volumes")
        with Bar(console_of(), "predict", len(paths)) as bar:
            done, failed = predict_volumes(predictor, targets, progress=bar.over)
    conclude(done, failed, out)


def refine(
    source: Annotated[
        Path, typer.Argument(metavar="PROBS_OR_MASKS", help="A folder of (K, H, W) .npy/.npz files, or of label maps.")
    ],
    images: Annotated[Path, typer.Argument(help="The folder of their images, with the same names.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("refined"),
    crf: Annotated[
        str, typer.Option(metavar="NAME", help="A preset of the dense CRF, graph_cut, icm, guided_filter, ...")
    ] = "crf",
    option: RefineOption = None,
    certainty: Annotated[float, typer.Option(help="How much label maps are believed, between 0 and 1.")] = 0.7,
    ignore: Ignore = None,
    overwrite: Overwrite = False,
) -> None:
    """Refine probabilities or label maps of any tool by their images' colours; write OUT/<stem>.png."""
    from atrous.predict.refine_folder import refine_folder
    from atrous.progress import Bar

    with Bar(console_of(), "refine", 0) as bar:
        done, failed = refine_folder(
            source,
            images,
            out,
            crf,
            named_values(option or ()),
            certainty=certainty,
            ignore=ignore or (),
            overwrite=overwrite,
            progress=bar.over,
        )
    conclude(done, failed, out)
