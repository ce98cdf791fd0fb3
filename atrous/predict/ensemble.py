"""Several networks as one: the mean of their probabilities, such as of the folds of a cross-validation."""

import dataclasses
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import torch
from torch import nn

from atrous.bundle import Card, load_bundle
from atrous.errors import WeightsError
from atrous.zoo.fetch import located

FOLDS = "fold-*"
"""Folders of the folds' runs in the folder of a cross-validation."""


class Ensemble(nn.Module):
    """Image (N, C, H, W), normalised as for the first network -> logits (N, K, H, W) whose probabilities are the mean.

    norms: (mean, std) of each network, per channel, in raw units; an image is put into each one's own. Of exclusive
    classes the logits are the logarithm of the mean of softmax probabilities, of overlapping ones the logit of the mean
    of sigmoids.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        norms: Sequence[tuple[Sequence[float], Sequence[float]]],
        *,
        exclusive: bool = True,
    ) -> None:
        super().__init__()
        self.models, self.exclusive = nn.ModuleList(models), exclusive
        self.classes, self.in_channels = models[0].classes, models[0].in_channels
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in norms[0])
        for index, (own_mean, own_std) in enumerate(norms):
            m, s = torch.tensor(own_mean, dtype=torch.float64), torch.tensor(own_std, dtype=torch.float64)
            self.register_buffer(f"scale{index}", (std / s).float().view(-1, 1, 1), persistent=False)
            self.register_buffer(f"shift{index}", ((mean - m) / s).float().view(-1, 1, 1), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        answers = []
        for index, model in enumerate(self.models):
            own = image * getattr(self, f"scale{index}") + getattr(self, f"shift{index}")
            logits = model(own).float()
            answers.append(logits.softmax(1) if self.exclusive else logits.sigmoid())
        mean = (sum(answers[1:], answers[0]) / len(answers)).clamp(1e-12, 1)
        return mean.log() if self.exclusive else mean.clamp(max=1 - 1e-7).logit()

    def logits_at_stride(self, image: torch.Tensor) -> None:
        """None: probabilities are averaged at the image's own size."""


def folds_in(folder: Path) -> list[Path]:
    """The runs of a cross-validation's folds, in order; [] where the folder holds none."""
    return sorted(
        (path for path in folder.glob(FOLDS) if path.name.removeprefix("fold-").isdigit()),
        key=lambda path: int(path.name.removeprefix("fold-")),
    )


def load_network(path: Path | str) -> tuple[nn.Module, Card]:
    """A bundle, a run's folder, a name of the zoo, or the folder of a cross-validation, whose networks answer together.

    Raises WeightsError where there is no bundle, or not every fold has one.
    """
    path = located(path)
    if path.is_dir() and not (path / "model.safetensors").exists() and (folds := folds_in(path)):
        return _together(path, folds)
    return load_bundle(path / "model.safetensors" if path.is_dir() else path)


def digest(path: Path) -> str:
    """A short name for the weights that `load_network` finds there; WeightsError where there are none."""
    files = [located(path)]
    if path.is_dir():
        whole = path / "model.safetensors"
        files = [whole] if whole.exists() else [fold / "model.safetensors" for fold in folds_in(path)]
    if not files or not all(file.is_file() for file in files):
        raise WeightsError(f"{path}: no bundle, no finished run and no finished folds; `atrous train` makes one")
    parts = [sha256(file.read_bytes()).hexdigest() for file in files]
    return sha256(" ".join(parts).encode()).hexdigest()[:16]


def _together(path: Path, folds: Sequence[Path]) -> tuple[nn.Module, Card]:
    first = load_bundle(folds[0] / "model.safetensors") if (folds[0] / "model.safetensors").exists() else None
    count = tuple(first[1].recipe.get("fold") or (0, 0))[1] if first else 0
    missing = [fold.name for fold in folds if not (fold / "model.safetensors").exists()]
    if missing or len(folds) < count:
        raise WeightsError(
            f"{path}: {missing[0] if missing else f'fold-{len(folds) + 1}'} is not finished; run the same "
            "`atrous train` command again, or use one of the folds alone"
        )
    assert first is not None
    loaded = [first, *(load_bundle(fold / "model.safetensors") for fold in folds[1:])]
    card = first[1]
    for fold, (_, other) in zip(folds, loaded, strict=True):
        if (other.labels, other.dtype, len(other.mean)) != (card.labels, card.dtype, len(card.mean)):
            raise WeightsError(f"{fold}: has other classes or images than {folds[0]}; an ensemble needs the same")
    model = Ensemble(
        [model for model, _ in loaded],
        [(other.mean, other.std) for _, other in loaded],
        exclusive=card.labels.mode == "exclusive",
    )
    recipe = {**card.recipe, "fold": (0, len(folds))}
    return model.eval(), dataclasses.replace(card, recipe=recipe, metrics={}, decoding={}, refinement={})
