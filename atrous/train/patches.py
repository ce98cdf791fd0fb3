"""Which crops of volumes a step sees: a pure function of the seed and the step, as for images (`batches`).

Of each batch the last ones are drawn about a labelled voxel (nnU-Net's oversampling): first a class
that the case holds is drawn, then one of its voxels. A rare organ is seen as often as a large one.
"""

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from atrous.train.cases import Cases
from atrous.train.recipe import Recipe
from atrous.transforms import generator
from atrous.transforms.volume import SELDOM, VolumeAugment

PLACE = 1
"""Number of the stream of random numbers that the place of a crop is drawn from; 0 is that of its changes."""


class PatchSet(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """(epoch, index of the case, whether about a labelled voxel) -> (C, d, h, w) float32, labels (d, h, w) int64."""

    def __init__(self, cases: Cases, recipe: Recipe) -> None:
        assert recipe.volume is not None
        self.pairs, self.seed, self.spacing = cases, recipe.seed, recipe.volume.steps((1.0, 1.0, 1.0))
        self.augment = augmentation(recipe)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, index, forced = key
        case = self.pairs.case(index)
        rng, centre = generator(self.seed, epoch, index), None
        if forced and case.places:
            draw = generator(self.seed, epoch, index, PLACE)
            places = case.places[sorted(case.places)[draw.integers(len(case.places))]]
            d, h, w = places[draw.integers(len(places))].tolist()
            centre = d, h, w
        # Both are mapped files: what the crop does not need is not read.
        image, labels = torch.from_numpy(case.image), torch.from_numpy(case.labels)
        crop, truth = self.augment(
            image, labels, rng, spacing=self.spacing, centre=centre, ignore=self.pairs.labels.ignore_index
        )
        assert truth is not None
        return crop, truth.long()


def augmentation(recipe: Recipe) -> VolumeAugment:
    """The recipe's augmentation; thick slices are turned in their plane alone."""
    assert recipe.volume is not None
    depth, height, width = recipe.crop
    coarse = recipe.volume.thick or max(recipe.crop) / depth > 3
    return VolumeAugment(
        (depth, height, width),
        scale=recipe.scale,
        rotate=(recipe.rotate, 0.0, 0.0) if coarse else (recipe.rotate,) * 3,
        flip=tuple(recipe.flip if axis in recipe.volume.mirror else 0.0 for axis in range(3)),  # type: ignore[arg-type]
        elastic=recipe.elastic,
        brightness=recipe.brightness,
        contrast=recipe.contrast,
        gamma=recipe.gamma,
        noise=recipe.noise,
        blur=recipe.blur,
        lowres=recipe.lowres,
        chances=SELDOM,
    )


def with_places(keys: Sequence[tuple[int, ...]], share: float) -> list[tuple[int, ...]]:
    """The (epoch, index) of a step with whether the crop is drawn about a labelled voxel: a share, the last ones."""
    free = round(len(keys) * (1 - share))
    return [(*key, place >= free) for place, key in enumerate(keys)]
