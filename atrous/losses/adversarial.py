"""The adversarial objective: a discriminator learns to tell predictions from labels.

With the image x, the softmax s(x), the labels y as 0 and 1, the discriminator a and the binary
cross-entropy H:

    segmenter      minimises  CE(s(x), y) + weight * H(a(x, s(x)), 1)
    discriminator  minimises  H(a(x, y), 1) + H(a(x, s(x)), 0)

Source: Luc, Couprie, Chintala, Verbeek 2016, arXiv 1611.08408.
"""

from typing import Literal

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F


class Discriminator(nn.Module):
    """(N, C, H, W) -> (N, 1, ceil(H/4), ceil(W/4)): > 0 for patches that look labelled.

    The paper's LargeFOV: 3x3 convolutions with ReLU, the first of `width` channels, pooled twice by
    two. Each output sees 34 x 34 pixels. Any H, W >= 1.
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
    """A discriminator and the losses of its two players.

    The players take turns, each with an optimiser of its own. Pixels under `ignore` are hidden from
    the discriminator, in the image too; patches without a counted pixel are not judged. So neither
    changes a value or a gradient.

    Args:
        classes: K, the number of classes.
        in_channels: channels of the image.
        ignore: label value that changes neither the loss nor its gradient.
        weight: of the segmenter's loss; lambda in the paper.
        encoding: what the discriminator sees: "basic", the K maps; "product", each map times each
            channel of the image.
        tau: softens the labels, so that being 0 or 1 does not give them away, in [0, 1]. The true
            class gets the larger of `tau` and the prediction; the other classes share the rest as
            in the prediction ("scaling"). None: labels stay 0 and 1.
        width: channels of the discriminator's first layer.

    Source:
        Luc, Couprie, Chintala, Verbeek 2016, arXiv 1611.08408.

    Example:
        >>> import torch
        >>> from atrous.losses import Adversarial, CrossEntropy
        >>> model, adversarial = torch.nn.Conv2d(3, 2, 1), Adversarial(classes=2, width=6)
        >>> ours = torch.optim.SGD(model.parameters(), 0.1)
        >>> theirs = torch.optim.SGD(adversarial.parameters(), 0.1)
        >>> image, labels = torch.rand(1, 3, 16, 16), torch.randint(0, 2, (1, 16, 16))
        >>> logits = model(image)
        >>> fooling = adversarial.segmenter_loss(image, logits, labels)
        >>> (CrossEntropy()(logits, labels) + fooling).backward()
        >>> ours.step()
        >>> adversarial.discriminator_loss(image, logits, labels).backward()
        >>> theirs.step()
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
        """weight * H(a(x, s(x)), 1); its gradient reaches the logits, not the discriminator.

        Args:
            image: (N, C, H, W), normalised.
            logits: (N, K, H, W).
            labels: (N, H, W) class indices.

        Returns:
            A scalar >= 0.
        """
        counted = self._counted(labels)
        frozen = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        decisions = functional_call(self.discriminator, frozen, self._encode(image, _softmax(logits, counted), counted))
        return self.weight * _cross_entropy(decisions, 1.0, counted)

    def discriminator_loss(self, image: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """H(a(x, y), 1) + H(a(x, s(x)), 0); its gradient reaches the discriminator, not the logits.

        Args and result as in `segmenter_loss`.
        """
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
        """The labels as maps (N, K, H, W) that sum to 1, softened unless `tau` is None."""
        hard = F.one_hot(labels, predicted.shape[1]).movedim(-1, 1).to(predicted.dtype)
        if self.tau is None:
            return hard
        given = (hard * predicted).sum(1, keepdim=True)  # (N, 1, H, W), what the segmenter gives the true class
        true = given.clamp_min(self.tau)
        others = (1 - hard) * predicted * (1 - true) / (1 - given).clamp_min(1e-6)
        return hard * true + others


def _softmax(logits: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Softmax over K; uniform and without a gradient where nothing is counted."""
    return torch.where(counted, logits, 0.0).softmax(1)


def _cross_entropy(decisions: torch.Tensor, target: float, counted: torch.Tensor) -> torch.Tensor:
    """The mean of H over those decisions (N, 1, h, w) whose cell has a counted pixel."""
    pool = (F.max_pool2d(F.max_pool2d(counted.float(), 2, ceil_mode=True), 2, ceil_mode=True)) > 0  # (N, 1, h, w)
    each = F.binary_cross_entropy_with_logits(decisions, torch.full_like(decisions, target), reduction="none")
    return torch.where(pool, each, 0.0).sum() / pool.sum().clamp_min(1)
