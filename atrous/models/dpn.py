"""DPN, the Deep Parsing Network: one step of mean field on a Markov random field, as layers after VGG16.

    network  year  arXiv       what is in it
    DPN      2015  1509.02634  VGG16 with holes and sigmoid scores (b1 to b11), a local convolution (b12), label
                               contexts in mixtures (b13), the least of each label's mixtures (b14), and their sum (b15)

With p the sigmoid of the scores, d a filter that differs from place to place, and mu_k the k-th mixture of contexts,
the logits of label u at place i are

    ln p_i(u) - min_k sum_j sum_v mu_k(i, u, j, v) sum_z d(j, z) p_z(v)

What neighbours z say of j counts by their distance in colour and position, what j says of i by learned contexts, and
the cheapest of five explanations is taken: the "triple penalty". The softmax belongs to the loss.

Reduced, as the paper's table was at hand in outline only:
- b12 to b15 run on the cells of the scores, stride 8, not on pixels; the paper's filters of 50 x 50 pixels are 7 x 7
  cells, their 48 nearest neighbours. Contexts keep the paper's 9 x 9, and so its number of weights, and see 72 pixels.
- d is exp(-distance), normalised over the window, with a learned rate for colour and one for position: the mean of what
  like neighbours say. The paper writes the weighted sum of both squared distances itself.
- Colours are those of the normalised image, its channels' standard deviation the unit, as models see no other; the
  rate takes up the scale. A cell has the mean colour of the 9 x 9 pixels around its own.
- VGG16 is DeepLab's (vgg_dilated.py): 3x3 pools, the last two at stride 1, which the paper leaves out. Cell i lies on
  pixel 8 i (deeplab_early.py).
- All is trained at once; the paper adds b12, then b13 and b14, then trains all.

Axes: N images, C channels, H x W pixels, h x w cells of 8 pixels, K classes.
"""

import torch
from torch import nn
from torch.nn import functional

from atrous.layers import gaussian, safe_norms
from atrous.layers.vgg_dilated import gaussian_score, on_pixels
from atrous.models.deeplab_early import Trunk, on_vgg16
from atrous.models.model import Strided
from atrous.models.options import Count, Odd
from atrous.ops.resize import Tail

RATES = (2.0, 1 / 18)
"""What the rates of colour and position start with: Gaussians of deviation 1/2 in colour and 3 cells in position."""


class LocalConvolution(nn.Module):
    """Scores (N, K, h, w), colours (N, C, h, w) -> (N, K, h, w): the mean over a window, near and alike cells first.

    Cell z weighs exp(-(a |colour_j - colour_z|^2 + b |j - z|^2)) at j, over the sum of those in the window and in the
    map; a and b are learned by their logarithms. window: side in cells, odd.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window
        self.log_rates = nn.Parameter(torch.tensor(RATES).log())

    def forward(self, scores: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
        weights = self.weights(colours)  # (N, window^2, h, w)
        taps = zip(weights.unbind(1), self._neighbours(scores), strict=True)
        return torch.stack([weight[:, None] * neighbour for weight, neighbour in taps]).sum(0)

    def weights(self, colours: torch.Tensor) -> torch.Tensor:
        """(N, window^2, h, w), rows of the window first; they sum to 1 and are 0 outside the map."""
        colour, position = self.log_rates.exp().unbind()
        offsets = torch.arange(self.window, device=colours.device) - self.window // 2
        far = (offsets[:, None].square() + offsets.square()).flatten()  # (window^2,)
        apart = [(other - colours).square().sum(1) for other in self._neighbours(colours)]
        distance = colour * torch.stack(apart, 1) + position * far[:, None, None]  # (N, window^2, h, w)
        inside = torch.stack(self._neighbours(torch.ones_like(colours[:, 0])), 1)
        return distance.neg().masked_fill(inside == 0, -torch.inf).softmax(1)

    def _neighbours(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The map (..., h, w) moved by every offset of the window, 0 where nothing comes in."""
        height, width, reach = *x.shape[-2:], self.window // 2
        x = functional.pad(x, (reach, reach, reach, reach))
        return [x[..., i : i + height, j : j + width] for i in range(self.window) for j in range(self.window)]


class DPN(Strided):
    """The network of the paper's table 1 on cells of 8 pixels. Any H, W >= 1."""

    def __init__(self, trunk: Trunk, classes: int, *, window: int, context: int, mixtures: int) -> None:
        super().__init__()
        self.encoder, self.classes, self.in_channels = trunk.encoder, classes, trunk.encoder.in_channels
        self.field, self.mixtures = trunk.field, mixtures
        self.score = gaussian_score(trunk.channels, classes)  # b11
        self.local = LocalConvolution(window)  # b12
        contexts = nn.Conv2d(classes, classes * mixtures, context, padding=context // 2)
        self.contexts = gaussian(contexts, std=0.01)  # b13
        safe_norms(self)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """Logits (N, K, h + 1, w + 1), the border cell repeated, and the resize that puts cell i on pixel 8 i."""
        scores = self.score(self.field(self.encoder(image)[-1]))  # (N, K, h, w)
        smooth = self.local(scores.sigmoid(), _colours(image, scores))  # (N, K, h, w)
        penalty = block_min(self.contexts(smooth), self.mixtures)  # (N, K, h, w)
        return on_pixels(functional.logsigmoid(scores) - penalty, image)


def block_min(x: torch.Tensor, block: int) -> torch.Tensor:
    """(N, K block, h, w) -> (N, K, h, w): the least of every `block` channels in a row (b14)."""
    return x.unflatten(1, (-1, block)).amin(2)


@on_vgg16(64, kernel=7, rate=4)  # the paper's 25 x 25
def dpn(trunk: Trunk, classes: int, *, window: Odd = 7, context: Odd = 9, mixtures: Count = 5) -> DPN:
    """DPN: VGG16 or another encoder at stride 8, then one mean-field step of a Markov random field as layers.

    VGG16 keeps all of fc6; of another encoder the last features are scored. window: side of the local filters in cells.
    context: side of the label contexts in cells, 9 in the paper. Both are odd. mixtures: contexts per label, 5 in the
    paper. dropout, width: of VGG16, as in deeplabv1.
    """
    return DPN(trunk, classes, window=window, context=context, mixtures=mixtures)


def _colours(image: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Image (N, C, H, W) -> (N, C, h, w): cell i has the mean of the 9 x 9 pixels around pixel 8 i."""
    (height, width), (rows, columns) = image.shape[2:], cells.shape[2:]
    right, below = 8 * (columns - 1) + 5 - width, 8 * (rows - 1) + 5 - height  # the border pixel repeated, or cut off
    return functional.avg_pool2d(functional.pad(image, (4, right, 4, below), mode="replicate"), 9, 8)
