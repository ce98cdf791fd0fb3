"""The losses of monai and segmentation_models_pytorch, if installed: equal where they should be."""

import pytest
import torch
from torch.nn import functional as F

from atrous.losses import make_loss
from atrous.losses.cldice import soft_skeleton


def sample(images: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of three classes that are all there, in lumps."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (images, 6, 8), generator=generator).repeat_interleave(4, 1).repeat_interleave(4, 2)
    return torch.randn(images, 3, *labels.shape[1:], generator=generator), labels


@pytest.mark.parametrize("text, name, options", [
    ("dice", "DiceLoss", {"batch": True}),
    ("dice(background=false)", "DiceLoss", {"batch": True, "include_background": False}),
    ("dice(squared=true, region=sample)", "DiceLoss", {"squared_pred": True}),
    ("jaccard", "DiceLoss", {"batch": True, "jaccard": True}),
    ("generalised_dice(region=sample)", "GeneralizedDiceLoss", {}),
    ("tversky(alpha=0.2, beta=0.8)", "TverskyLoss", {"batch": True, "alpha": 0.2, "beta": 0.8}),
    ("boundary", "BoundaryLoss", {}),
])  # fmt: skip
@pytest.mark.parametrize("mode", ["exclusive", "multilabel"])
def test_monai(text: str, name: str, options: dict[str, object], mode: str) -> None:
    losses = pytest.importorskip("monai.losses")
    logits, labels = sample(2)
    form, smooth = {"softmax": True}, {} if name == "BoundaryLoss" else {"smooth_nr": 0.0, "smooth_dr": 1e-8}
    masks = F.one_hot(labels, 3).movedim(-1, 1)
    if mode == "multilabel":
        masks[:, 2] |= masks[:, 0]
        form, labels = {"sigmoid": True}, masks
    theirs = getattr(losses, name)(**form, **options, **smooth)(logits, masks.float())
    torch.testing.assert_close(make_loss(text)(logits, labels), theirs, rtol=1e-5, atol=1e-5)


def test_monais_focal() -> None:
    losses = pytest.importorskip("monai.losses")
    logits, labels = sample(2)
    masks = F.one_hot(labels, 3).movedim(-1, 1)
    for text, options in (("focal(gamma=3)", {"gamma": 3.0}), ("focal(alpha=0.3)", {"gamma": 2.0, "alpha": 0.3})):
        theirs = losses.FocalLoss(**options)(logits, masks.float())
        torch.testing.assert_close(make_loss(text)(logits, masks), theirs)


@pytest.mark.parametrize("shape", [(9, 13), (6, 7, 8)])
def test_monais_skeletons(shape: tuple[int, ...]) -> None:
    """Theirs are the authors'; their loss has two more constants under the harmonic mean."""
    theirs = pytest.importorskip("monai.losses.cldice")
    maps = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    for iterations in (0, 1, 4):
        assert torch.equal(soft_skeleton(maps, iterations), theirs.soft_skel(maps, iterations))


def test_smps_lovasz() -> None:
    losses = pytest.importorskip("segmentation_models_pytorch.losses")
    logits, labels = sample(2)
    labels[0, 3:9] = 255
    for region, per_image in (("batch", False), ("sample", True)):
        theirs = losses.LovaszLoss("multiclass", per_image=per_image, ignore_index=255)(logits, labels)
        torch.testing.assert_close(make_loss(f"lovasz(region={region})")(logits, labels), theirs)
    mask = torch.where(labels == 255, 255, (labels == 1).long())[:, None]
    theirs = losses.LovaszLoss("binary", per_image=False, ignore_index=255)(logits[:, :1], mask)
    torch.testing.assert_close(make_loss("lovasz(form=hinge)")(logits[:, :1], mask), theirs)


@pytest.mark.parametrize("text, name, options", [
    ("dice", "DiceLoss", {}), ("jaccard", "JaccardLoss", {}),
    ("tversky(alpha=0.3, beta=0.7)", "TverskyLoss", {"alpha": 0.3, "beta": 0.7}),
])  # fmt: skip
def test_smp(text: str, name: str, options: dict[str, float]) -> None:
    losses = pytest.importorskip("segmentation_models_pytorch.losses")
    logits, labels = sample(2)
    theirs = getattr(losses, name)("multiclass", **options)(logits, labels)
    torch.testing.assert_close(make_loss(text)(logits, labels), theirs, rtol=1e-5, atol=1e-6)
