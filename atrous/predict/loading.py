"""What a path or a name is, and how it is opened. This is the one place that says so.

A network is given by a bundle, the folder of a run or of a cross-validation, the name of published weights, or an
exported file. Recognising costs no torch; opening imports it.
"""

from enum import Enum
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from atrous.errors import ModelError, WeightsError
from atrous.files import refuse_stream
from atrous.progress import command

if TYPE_CHECKING:
    from torch import nn

    from atrous.bundle import Card
    from atrous.predict.backends import Backend
    from atrous.predict.predictor import Predictor, PredictorOptions

BUNDLE = "model.safetensors"
"""The bundle's name in the folder of a run."""

RECIPE = "recipe.toml"
"""The recipe's name in the folder of a run. It is there from before step 1 on."""

EXPORTED = {".onnx": "onnx", ".xml": "openvino"}
"""Suffix of an exported file -> the backend that runs it."""


class Kind(Enum):
    """What a path or a name is."""

    BUNDLE = "a bundle"
    RUN = "the folder of a finished run"
    UNFINISHED = "the folder of a run that is not finished"
    FOLDS = "the folder of a cross-validation"
    EXPORTED = "an exported network"
    PUBLISHED = "the name of published weights"
    FOLDER = "another folder, of label maps perhaps"
    FILE = "another file"
    NOTHING = "neither a path nor a name"


NETWORKS = {Kind.BUNDLE, Kind.RUN, Kind.UNFINISHED, Kind.FOLDS, Kind.EXPORTED, Kind.PUBLISHED}
"""Kinds that `load_predictor` opens, or refuses with a reason of their own."""


def kind_of(source: Path | str) -> Kind:
    """What `source` is. A path that exists goes before a name."""
    path = Path(source)
    if path.is_dir():
        if (path / BUNDLE).exists():
            return Kind.RUN
        if folds_in(path):
            return Kind.FOLDS
        return Kind.UNFINISHED if (path / RECIPE).exists() else Kind.FOLDER
    if path.suffix == ".safetensors":
        return Kind.BUNDLE  # where it does not exist, opening it says so
    if path.exists():
        return Kind.EXPORTED if path.suffix in EXPORTED else Kind.FILE
    from atrous.zoo.fetch import published_names

    return Kind.PUBLISHED if str(source) in published_names() else Kind.NOTHING


def is_network(source: Path | str) -> bool:
    """Whether `source` stands for a network; a folder of label maps, for example, does not."""
    return kind_of(source) in NETWORKS


def folds_in(folder: Path) -> list[Path]:
    """The runs `fold-1`, `fold-2`, ... of a cross-validation, in order; [] where the folder holds none."""
    found = [path for path in folder.glob("fold-*") if path.name.removeprefix("fold-").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("fold-")))


def bundle_in(source: Path | str) -> Path:
    """The bundle of a run's folder, which may not be written yet; any other path or name as it is."""
    path = Path(source)
    return path / BUNDLE if path.is_dir() else path


def load_network(source: Path | str) -> "tuple[nn.Module, Card]":
    """The network and its card; the networks of a cross-validation answer together.

    Raises:
        WeightsError: `source` is nothing that holds a network, or not every fold is finished.
    """
    kind = kind_of(source)
    if kind is Kind.FOLDS:
        from atrous.predict.ensemble import load_folds

        return load_folds([fold / BUNDLE for fold in folds_in(Path(source))])
    if kind is Kind.EXPORTED:
        raise WeightsError(f"{source}: is an exported network; give the bundle it was made from")
    from atrous.bundle import load_bundle

    return load_bundle(_bundle_file(source, kind))


def card_of(source: Path | str) -> "Card":
    """The card of whatever `load_predictor` opens; the weights of a single bundle are left unread.

    Raises:
        WeightsError, ModelError: as `load_predictor`.
    """
    kind = kind_of(source)
    if kind in (Kind.EXPORTED, Kind.FOLDS):
        return load_predictor(source).card
    from atrous.bundle import load_card

    return load_card(_bundle_file(source, kind))


def load_predictor(
    source: Path | str, *, device: str | None = None, **options: "Unpack[PredictorOptions]"
) -> "Predictor":
    """Open whatever holds a network, ready for raw images.

    Args:
        source: a bundle, a run's folder, that of a cross-validation (all its networks, averaged), the name of published
            weights (fetched once), or a file of `atrous export` (.onnx, .xml).
        device: of torch; default "cuda" where there is one, else "cpu".
        options: of `atrous.Predictor`: backend, decode, calibration, recall, refine, refine_options, window, ...

    Raises:
        WeightsError: nothing is there, the run is not finished, or the file cannot be read.
        ModelError: an option that this source cannot have.
    """
    from atrous.predict.predictor import Predictor

    if kind_of(source) is Kind.EXPORTED:
        own = EXPORTED[Path(source).suffix]
        if (backend := options.pop("backend", "auto")) not in ("auto", own):
            raise ModelError(f"{source}: runs on {own} only; leave out --backend {backend}")
        if device not in (None, "cpu"):
            raise ModelError(f"{source}: runs on the CPU only; leave out device={device!r}, or open its bundle")
        return Predictor(*open_exported(source), **options)
    return predictor_of(*load_network(source), device=device or default_device(), **options)


def predictor_of(
    model: "nn.Module", card: "Card", *, device: str, **options: "Unpack[PredictorOptions]"
) -> "Predictor":
    """A predictor of images, or of volumes (`atrous.predict.volume.VolumePredictor`), as the card says."""
    if card.volume:
        from atrous.predict.volume import VolumePredictor

        return VolumePredictor(model, card, device=device, **options)  # type: ignore[return-value]
    from atrous.predict.predictor import Predictor

    return Predictor(model, card, device=device, **options)


def open_exported(path: Path | str) -> "tuple[Backend, Card]":
    """A file of `atrous export` with the card in it.

    Raises:
        WeightsError: the file cannot be read, or carries no card.
    """
    refuse_stream(path)
    return import_module(f"atrous.predict.backends.{EXPORTED[Path(path).suffix]}").from_file(Path(path))


def default_device() -> str:
    """The device of torch that computes unless another one is asked for."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def digest(source: Path | str) -> str:
    """A short name for the weights that `load_network` finds there.

    Raises:
        WeightsError: there are none.
    """
    from atrous.zoo.fetch import located

    kind = kind_of(source)
    if kind is Kind.FOLDS:
        files = [fold / BUNDLE for fold in folds_in(Path(source))]
    else:
        files = [bundle_in(located(source))]
    if not all(file.is_file() for file in files):
        raise WeightsError(f"{source}: no bundle, no finished run and no finished folds; `atrous train` makes one")
    parts = [sha256(file.read_bytes()).hexdigest() for file in files]
    return sha256(" ".join(parts).encode()).hexdigest()[:16]


def _bundle_file(source: Path | str, kind: Kind) -> Path:
    """The file of a bundle, fetched if it is published; WeightsError where there is none."""
    from atrous.zoo.fetch import located
    from atrous.zoo.shipped import absence

    if kind is Kind.UNFINISHED:
        raise WeightsError(f"{source}: holds a run that is not finished; run the same `atrous train` command again")
    if kind is Kind.FOLDER:
        raise WeightsError(f"{source}: holds no {BUNDLE}; give a run folder of `atrous train` or a bundle")
    path = bundle_in(located(source))
    if not path.exists():
        raise WeightsError(
            f"{path}: no such bundle or run folder, nor the name of published weights; "
            f"train one with `{command('atrous', 'train', 'DATA', '-o', source)}`, or see `atrous models`{absence()}"
        )
    return path
