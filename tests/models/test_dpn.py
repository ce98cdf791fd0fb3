"""DPN: local convolution against loops, block-min, colours of cells, the formula by hand, VGG's weights, export."""

import math

import pytest
import torch
from torch import nn

from atrous.models import create_model
from atrous.models.deeplab_early import deeplabv1
from atrous.models.dpn import DPN, LocalConvolution, _colours, block_min, dpn


def by_loops(scores: torch.Tensor, colours: torch.Tensor, window: int, colour: float, position: float) -> torch.Tensor:
    """The local convolution cell by cell: the mean of the window's scores, near and alike cells first."""
    (_, height, width), reach, out = scores.shape, window // 2, torch.zeros_like(scores)
    for y in range(height):
        for x in range(width):
            total, mean = 0.0, torch.zeros(len(scores), dtype=scores.dtype)
            for v in range(max(0, y - reach), min(height, y + reach + 1)):
                for u in range(max(0, x - reach), min(width, x + reach + 1)):
                    apart = float((colours[:, y, x] - colours[:, v, u]).square().sum())
                    weight = math.exp(-colour * apart - position * ((y - v) ** 2 + (x - u) ** 2))
                    total, mean = total + weight, mean + weight * scores[:, v, u]
            out[:, y, x] = mean / total
    return out


@pytest.mark.parametrize("window, size, channels", [(1, (3, 4), 3), (3, (5, 7), 1), (7, (6, 4), 5)])
@torch.no_grad()
def test_local_convolution_is_the_loops(window: int, size: tuple[int, int], channels: int) -> None:
    torch.manual_seed(0)
    layer = LocalConvolution(window).double()
    assert layer.log_rates.exp().tolist() == pytest.approx([2.0, 1 / 18])
    layer.log_rates.copy_(torch.tensor([0.7, 0.2]).log())
    scores, colours = (torch.randn(2, count, *size, dtype=torch.float64) for count in (4, channels))
    expected = [by_loops(one, colour, window, 0.7, 0.2) for one, colour in zip(scores, colours, strict=True)]
    torch.testing.assert_close(layer(scores, colours), torch.stack(expected), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(layer(torch.ones_like(scores), colours), torch.ones_like(scores))


def test_block_min_takes_the_least_of_each_labels_mixtures() -> None:
    x = torch.tensor([3.0, 1, 2, -1, 5, 0]).view(1, 6, 1, 1)
    assert block_min(x, 3).flatten().tolist() == [1, -1]
    assert block_min(x, 2).flatten().tolist() == [1, -1, 0]
    assert block_min(x, 1).flatten().tolist() == x.flatten().tolist()


@pytest.mark.parametrize("size", [(1, 1), (9, 17), (20, 11), (8, 30)])
def test_a_cell_has_the_mean_colour_around_its_pixel(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 2, *size, dtype=torch.float64)
    cells = [math.ceil((side - 1) / 8) + 1 for side in size]
    found = _colours(image, torch.zeros(1, 3, *cells))
    assert found.shape == (1, 2, *cells)
    for i in range(cells[0]):
        for j in range(cells[1]):
            rows = [min(max(8 * i + k, 0), size[0] - 1) for k in range(-4, 5)]
            columns = [min(max(8 * j + k, 0), size[1] - 1) for k in range(-4, 5)]
            torch.testing.assert_close(found[0, :, i, j], image[0][:, rows][:, :, columns].mean((1, 2)))


@torch.no_grad()
def test_logits_are_the_formula_of_one_step_of_mean_field() -> None:
    torch.manual_seed(0)
    model, image = dpn(3, width=2, window=3, context=5, mixtures=2).double().eval(), torch.randn(1, 3, 41, 33).double()
    nn.init.normal_(model.score.weight)
    nn.init.normal_(model.contexts.weight)
    nn.init.normal_(model.contexts.bias)
    scores = model.score(model.field(model.encoder(image)[-1]))[0]
    unary = 1 / (1 + (-scores).exp())
    colour, position = model.local.log_rates.exp().tolist()
    smooth = by_loops(unary, _colours(image, scores[None])[0], 3, colour, position)
    expected = torch.zeros_like(scores)
    (_, height, width), mu = scores.shape, model.contexts.weight.view(3, 2, 3, 5, 5)
    for u in range(3):
        for y in range(height):
            for x in range(width):
                costs = model.contexts.bias.view(3, 2)[u].clone()
                for k in range(2):
                    for i in range(max(0, y - 2), min(height, y + 3)):
                        for j in range(max(0, x - 2), min(width, x + 3)):
                            costs[k] += mu[u, k, :, i - y + 2, j - x + 2] @ smooth[:, i, j]
                expected[u, y, x] = unary[u, y, x].log() - min(costs)
    logits, tail = model.logits_at_stride(image)
    torch.testing.assert_close(logits[0, :, :-1, :-1], expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(tail.apply(logits)[0, :, ::8, ::8], expected, rtol=1e-6, atol=1e-6)
    assert expected.std() > 0.1


def test_its_trunk_is_vgg16_with_all_of_fc6() -> None:
    with torch.device("meta"):
        model, trunk = dpn(), deeplabv1(fc6="7x7")
    assert sum(p.numel() for p in model.parameters()) == 134_346_581 + 21 * 105 * 81 + 105 + 2
    sizes = {key.removeprefix("head."): value.shape for key, value in trunk.state_dict().items()}
    assert sizes.items() <= {key: value.shape for key, value in model.state_dict().items()}.items()


def test_its_vgg_weights_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, object]] = []
    for name in ("DilatedVGG16", "FieldOfView"):

        def load(part: nn.Module, state: object, first: int = 0, *, name: str = name) -> None:
            calls.append((name, state))

        monkeypatch.setattr(f"atrous.layers.vgg_dilated.{name}.load_imagenet", load)
    monkeypatch.setattr("atrous.encoders.pretrained_state", lambda name, source: (name, source))
    assert isinstance(create_model("dpn", 3, width=1, pretrained="file"), DPN)
    assert calls == [("DilatedVGG16", ("vgg16.tv_in1k", "file")), ("FieldOfView", ("vgg16.tv_in1k", "file"))]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 96), (33, 47)])
@torch.no_grad()
def test_it_exports(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model, image = dpn(3, width=2).eval(), torch.randn(1, 3, *size)
    exported = torch.export.export(model, (image,)).module()
    torch.testing.assert_close(exported(image), model(image), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_one_export_serves_all_sizes() -> None:
    torch.manual_seed(0)
    model, any_size = dpn(3, width=2).eval(), {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(model, (torch.randn(1, 3, 64, 96),), dynamic_shapes=(any_size,)).module()
    for size in ((33, 65), (200, 128)):
        image = torch.randn(1, 3, *size)
        torch.testing.assert_close(exported(image), model(image), rtol=1e-4, atol=1e-4)
