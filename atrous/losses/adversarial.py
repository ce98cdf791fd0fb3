"""The adversarial objective: a discriminator learns to tell predictions from labels, the segmenter to pass for labels.

Luc, Couprie, Chintala, Verbeek 2016, arXiv 1611.08408. With x the image, s(x) the softmax, y the labels as 0 and 1, a
the discriminator and H binary cross-entropy:

    segmenter      minimises  CE(s(x), y) + weight H(a(x, s(x)), 1)
    discriminator  minimises  H(a(x, y), 1) + H(a(x, s(x)), 0)

A training loop takes turns, with an optimiser for each; each loss reaches the parameters of its own side only:

    adversarial = Adversarial(classes=21)
    logits = model(image)
    loss = cross_entropy(logits, labels) + adversarial.segmenter_loss(image, logits, labels)
    model_optimiser.zero_grad(); loss.backward(); model_optimiser.step()
    loss = adversarial.discriminator_loss(image, logits, labels)
    discriminator_optimiser.zero_grad(); loss.backward(); discriminator_optimiser.step()
"""

from typing import Literal

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F


class Discriminator(nn.Module):
    """(N, C, H, W) -> (N, 1, ceil(H/4), ceil(W/4)): for patches of 34 x 34 pixels, positive where they look labelled.

    The paper's LargeFOV: 3x3 with ReLU, of `width` 96 and up, pooled twice by two. Any H, W >= 1.
    """

    def __init__(self, channels: int, width: int = 96) -> None:
        super().__init__()
        third = width / 3
        wide, wider, widest = round(4 * third), round(8 * third), round(16 * third)
        self.layers = nn.Sequential()
        for before, after in ((channels, width), (width, wide), (wide, wide), (0, 0), (wide, wider), (wider, wider),
                              (0, 0), (wider, widest)):  # fmt: skip
            if after:
                self.layers.extend([nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)])
            else:
                self.layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.layers.append(nn.Conv2d(widest, 1, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Adversarial(nn.Module):
    """A discriminator and the two losses: (image, logits, labels) -> scalar each.

    image: normalised (N, C, H, W); logits: (N, K, H, W); labels: (N, H, W) integer. What lies under `ignore`, image
    too, is invisible to the discriminator, and patches without a counted pixel are not judged: both change neither
    value nor gradient. weight: of the segmenter's loss, the paper's lambda.
    encoding: what the discriminator sees; "basic", the K maps; "product", each of them times each channel of the image.
    tau: labels are softened so that they cannot be known by being 0 and 1: the true class gets at least `tau` and at
    least what the segmenter gives it, the others share the rest as the segmenter has it ("scaling"; None: hard labels).
    """

    def __init__(
        self,
        classes: int,
        in_channels: int = 3,
        *,
        ignore: int = 255,
        weight: float = 1.0,
        encoding: Literal["basic", "product"] = "product",
        tau: float | None = 0.9,
        width: int = 96,
    ) -> None:
        super().__init__()
        self.ignore, self.weight, self.encoding, self.tau = ignore, weight, encoding, tau
        self.discriminator = Discriminator(classes * (in_channels if encoding == "product" else 1), width)

    def segmenter_loss(self, image: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """weight H(a(x, s(x)), 1); its gradient reaches the logits and not the discriminator."""
        counted = self._counted(labels)
        frozen = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        decisions = functional_call(self.discriminator, frozen, self._encode(image, _softmax(logits, counted), counted))
        return self.weight * _cross_entropy(decisions, 1.0, counted)

    def discriminator_loss(self, image: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """H(a(x, y), 1) + H(a(x, s(x)), 0); its gradient reaches the discriminator and not the logits."""
        counted = self._counted(labels)
        predicted = _softmax(logits.detach(), counted)
        truth = self._soften(torch.where(counted[:, 0], labels.long(), 0), predicted)
        real = self.discriminator(self._encode(image, truth, counted))
        fake = self.discriminator(self._encode(image, predicted, counted))
        return _cross_entropy(real, 1.0, counted) + _cross_entropy(fake, 0.0, counted)

    def _counted(self, labels: torch.Tensor) -> torch.Tensor:
        return (labels != self.ignore)[:, None]  # (N, 1, H, W)

    def _encode(self, image: torch.Tensor, maps: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
        maps = torch.where(counted, maps, 0.0)  # (N, K, H, W)
        if self.encoding == "basic":
            return maps
        image = torch.where(counted, image, 0.0)
        return (maps[:, :, None] * image[:, None]).flatten(1, 2)  # (N, K C, H, W)

    def _soften(self, labels: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        """The labels as maps (N, K, H, W) that sum to 1, hard or near the prediction."""
        hard = F.one_hot(labels, predicted.shape[1]).movedim(-1, 1).to(predicted.dtype)
        if self.tau is None:
            return hard
        given = (hard * predicted).sum(1, keepdim=True)  # (N, 1, H, W), what the segmenter gives the true class
        true = given.clamp_min(self.tau)
        others = (1 - hard) * predicted * (1 - true) / (1 - given).clamp_min(1e-6)
        return hard * true + others


def _softmax(logits: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Softmax over K; even, without a gradient, where nothing counts."""
    return torch.where(counted, logits, 0.0).softmax(1)


def _cross_entropy(decisions: torch.Tensor, target: float, counted: torch.Tensor) -> torch.Tensor:
    """The mean of H over the decisions (N, 1, h, w) on cells with a counted pixel."""
    pool = (F.max_pool2d(F.max_pool2d(counted.float(), 2, ceil_mode=True), 2, ceil_mode=True)) > 0  # (N, 1, h, w)
    each = F.binary_cross_entropy_with_logits(decisions, torch.full_like(decisions, target), reduction="none")
    return torch.where(pool, each, 0.0).sum() / pool.sum().clamp_min(1)
