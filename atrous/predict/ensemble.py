"""Several networks as one: the mean of their probabilities, such as of the folds of a cross-validation."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from atrous.bundle import Card, load_bundle
from atrous.errors import WeightsError


class Ensemble(nn.Module):
    """Several networks as one: the mean of their probabilities, as logits (N, K, H, W).

    It takes an image (N, C, H, W) that is normalised as for the first network, and normalises it anew for
    each of the others. The logits are the logarithm of the mean softmax; of overlapping classes the logit
    of the mean sigmoid.

    Args:
        models: the networks.
        norms: (mean, std) of each, per channel, in raw units.
        exclusive: whether the classes exclude each other.
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
        """None: probabilities are averaged at the image's size, so there are no logits at a stride."""


def load_folds(bundles: Sequence[Path]) -> tuple[nn.Module, Card]:
    """The networks of a cross-validation as one. bundles: RUN/fold-1/..., RUN/fold-2/..., in order.

    Raises:
        WeightsError: a fold is not finished, or has other classes or images than the first.
    """
    first = load_bundle(bundles[0]) if bundles[0].exists() else None
    count = tuple(first[1].recipe.get("fold") or (0, 0))[1] if first else 0
    missing = [bundle.parent.name for bundle in bundles if not bundle.exists()]
    if first is None or missing or len(bundles) < count:
        raise WeightsError(
            f"{bundles[0].parent.parent}: {missing[0] if missing else f'fold-{len(bundles) + 1}'} is not finished; run "
            "the same `atrous train` command again, or use one of the folds alone"
        )
    loaded = [first, *map(load_bundle, bundles[1:])]
    card = first[1]
    for bundle, (_, other) in zip(bundles, loaded, strict=True):
        if (other.labels, other.dtype, len(other.mean)) != (card.labels, card.dtype, len(card.mean)):
            raise WeightsError(
                f"{bundle.parent}: has other classes or images than {bundles[0].parent}; an ensemble needs the same"
            )
    model = Ensemble(
        [model for model, _ in loaded],
        [(other.mean, other.std) for _, other in loaded],
        exclusive=card.labels.mode == "exclusive",
    )
    recipe = {**card.recipe, "fold": (0, len(bundles))}
    seen = tuple(sorted({trace for _, other in loaded for trace in other.seen}))
    return model.eval(), dataclasses.replace(card, recipe=recipe, metrics={}, decoding={}, refinement={}, seen=seen)
