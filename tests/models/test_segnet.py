"""SegNet, SegNet-Basic and Bayesian SegNet are the papers': sizes, layers, dropout passes, export."""

import copy

import pytest
import torch
from nets import small_vgg
from torch import nn
from torch.nn import functional

from atrous.errors import ModelError
from atrous.models import create_model
from atrous.models.segnet import dropout_passes, segnet, segnet_basic

BOTH = pytest.mark.parametrize("build", [segnet, segnet_basic])


def test_sizes_are_those_of_the_released_net() -> None:
    seen: list[tuple[int, ...]] = []
    with torch.device("meta"):
        net = segnet(11)
        net.encoder.pool.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output[0].shape[1:])))
        for block in (*net.decoder, net.score):
            block.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[1:])))
        assert net(torch.zeros(1, 3, 360, 480)).shape == (1, 11, 360, 480)
    assert seen == [
        *((64, 180, 240), (128, 90, 120), (256, 45, 60), (512, 23, 30), (512, 12, 15)),
        *((512, 23, 30), (256, 45, 60), (128, 90, 120), (64, 180, 240), (64, 360, 480), (11, 360, 480)),
    ]


def test_convolutions_alone_are_as_many_as_published() -> None:
    with torch.device("meta"):
        for net, published in ((segnet(11), 29_433_483), (segnet_basic(11), 1_415_563)):
            layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
            assert sum(p.numel() for layer in layers for p in layer.parameters()) == published


@torch.no_grad()
def test_basic_is_the_released_net_layer_by_layer() -> None:
    """The prototxt written out with torch's functions; torch's own unpooling is the referee."""
    torch.manual_seed(0)
    net, x = segnet_basic(3, width=4).double().eval(), torch.randn(1, 3, 45, 61).double() * 60
    image, pools = x, []
    for norm in (layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    total = functional.pad(x.square(), (0, 0, 0, 0, 2, 2)).unfold(1, 5, 1).sum(-1)
    x = x / (1 + 1e-4 / 5 * total) ** 0.75
    for convolution, norm, _ in net.down:
        x = norm(functional.conv2d(x, convolution.weight, convolution.bias, padding=3)).relu()
        pools.append((x.shape, functional.max_pool2d(x, 2, ceil_mode=True, return_indices=True)))
        x = pools[-1][1][0]
    for convolution, norm in net.up:
        shape, (_, indices) = pools.pop()
        x = functional.max_unpool2d(x, indices, 2, output_size=shape)
        x = norm(functional.conv2d(x, convolution.weight, convolution.bias, padding=3))
    expected = functional.conv2d(x, net.score.weight, net.score.bias)
    torch.testing.assert_close(net(image), expected)


@torch.no_grad()
def test_decoder_mirrors_with_torchs_unpooling() -> None:
    torch.manual_seed(0)
    net, image = segnet(3, width=2).eval(), torch.randn(2, 3, 45, 61)
    pooled, switches = net.encoder.with_switches(image)
    x = pooled[-1]
    for (indices, size), block in zip(switches[::-1], net.decoder, strict=True):
        x = block(functional.max_unpool2d(x, indices, 2, output_size=size))
    assert torch.equal(net(image), net.score(x))
    assert [type(layer).__name__ for layer in net.decoder[0][0]] == ["Conv2d", "BatchNorm2d", "ReLU"]


@torch.no_grad()
def test_vgg_is_the_start(tmp_path: object) -> None:
    path = tmp_path / "vgg.pth"  # type: ignore[operator]
    theirs, image = small_vgg(), torch.randn(1, 3, 64, 64)
    torch.save(theirs.state_dict(), path)
    net = create_model("segnet", classes=3, pretrained=str(path), width=2).eval()
    torch.testing.assert_close(net.encoder(image)[-1], theirs.features(image))


@pytest.mark.parametrize("build, places", [
    (segnet, [("encoder.pool", 8), ("encoder.pool", 4), ("encoder.pool", 2),
              ("decoder.0.2.2", 4), ("decoder.1.2.2", 8), ("decoder.2.2.2", 16)]),
    (segnet_basic, [("pool", 8), ("pool", 4), ("up.0.1", 8), ("up.1.1", 16)]),
])  # fmt: skip
def test_dropout_stands_where_the_released_bayesian_net_has_it(build: object, places: list[tuple[str, int]]) -> None:
    """Each draw follows a layer, at a height, of 64 rows: pools 3, 4, 5 (or 4) and the ends of the deep blocks."""
    net, calls = build(3, width=2, dropout=0.5), []  # type: ignore[operator]
    for name, layer in net.named_modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda module, inputs, out, name=name: calls.append((name, module, inputs[0])))
    net(torch.randn(2, 3, 64, 96))
    draws = [index for index, (_, layer, _) in enumerate(calls) if isinstance(layer, nn.Dropout)]
    assert [(calls[index - 1][0], calls[index][2].shape[2]) for index in draws] == places
    assert {calls[index][1].p for index in draws} == {0.5}


@BOTH
def test_passes_are_the_softmax_of_many_draws(build: object) -> None:
    torch.manual_seed(0)
    net, image = build(3, width=2, dropout=0.5), torch.randn(2, 3, 33, 40)  # type: ignore[operator]
    before, state = {m: m.training for m in net.modules()}, copy.deepcopy(net.state_dict())
    drawn = torch.random.get_rng_state()
    got = dropout_passes(net, image, 7, seed=3)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert {m: m.training for m in net.modules()} == before
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    net.eval()
    for layer in net.modules():
        layer.training = isinstance(layer, nn.Dropout)
    torch.manual_seed(3)
    with torch.no_grad():
        draws = torch.stack([net(image).softmax(1) for _ in range(7)])
    torch.testing.assert_close(got.mean, draws.mean(0))
    torch.testing.assert_close(got.variance, draws.var(0, correction=0), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(got.entropy, -(draws.mean(0) * draws.mean(0).log()).sum(1))
    assert float(got.variance.max()) > 1e-5
    assert torch.equal(dropout_passes(net, image, 7, seed=3).mean, got.mean)
    assert not torch.equal(dropout_passes(net, image, 7, seed=4).mean, got.mean)


def test_one_pass_has_no_variance_and_errors_put_the_modes_back() -> None:
    net = segnet_basic(3, width=2, dropout=0.5).train()
    assert not dropout_passes(net, torch.randn(1, 3, 20, 20), 1).variance.any()
    with pytest.raises(RuntimeError):
        dropout_passes(net, torch.randn(1, 4, 20, 20), 2)
    assert all(layer.training for layer in net.modules())


def test_passes_serve_other_pages() -> None:
    torch.manual_seed(0)
    net = create_model("fcn8s", classes=3, width=2)
    nn.init.normal_(net.score_fr.weight)
    assert dropout_passes(net, torch.randn(1, 3, 40, 50), 3).variance.any()


@pytest.mark.parametrize("options, passes, words", [({}, 3, "has no dropout"), ({"dropout": 0.5}, 0, "passes is 0"),
                                                    ({"dropout": 0.5}, 2.5, "passes is 2.5")])  # fmt: skip
def test_impossible_passes_are_one_sentence(options: dict[str, float], passes: int, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        dropout_passes(segnet_basic(3, width=2, **options), torch.randn(1, 3, 8, 8), passes)  # type: ignore[arg-type]


@BOTH
@pytest.mark.parametrize("size", [(33, 65), pytest.param((64, 96), marks=pytest.mark.slow)])
@torch.no_grad()
def test_it_exports(build: object, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net, image = build(3, width=2).eval(), torch.randn(1, 3, *size)  # type: ignore[operator]
    exported = torch.export.export(net, (image,)).module()
    torch.testing.assert_close(exported(image), net(image))


@BOTH
@pytest.mark.slow
@torch.no_grad()
def test_one_export_serves_all_sizes(build: object) -> None:
    torch.manual_seed(0)
    net, any_size = build(3, width=2).eval(), {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}  # type: ignore[operator]
    exported = torch.export.export(net, (torch.randn(1, 3, 64, 96),), dynamic_shapes=(any_size,)).module()
    for size in ((64, 96), (33, 65), (225, 260)):
        image = torch.randn(1, 3, *size)
        torch.testing.assert_close(exported(image), net(image))
