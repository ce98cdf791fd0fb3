"""PointRend: sampling, subdivision, importance, the training pairs, features taken from the page's own run."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from atrous.errors import ModelError
from atrous.losses import CrossEntropy
from atrous.models import create_model, pointrend
from atrous.ops.resize import resize
from atrous.train.objective import Normalise, Objective
from atrous.train.optimizer import make_optimizer


class Stub(nn.Module):
    """A head that says class 0 everywhere and keeps how many points it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        self.asked.append(fine.shape[2])
        answer = torch.zeros_like(coarse)
        answer[:, 0] = 100
        return answer


def small(base: str = "deeplabv3plus", **options: object) -> pointrend.PointRend:
    torch.manual_seed(0)
    net = create_model("pointrend", 3, base=base, channels=8, **options)  # type: ignore[arg-type]
    assert isinstance(net, pointrend.PointRend)
    return net.eval()


def test_sampling_at_the_centres_of_pixels_is_resizing() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    up = resize(x, (11, 13))
    index = torch.arange(11 * 13).expand(2, -1)
    sampled = pointrend._sample(x, pointrend._centres(index, up))
    torch.testing.assert_close(sampled, up.flatten(2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("logits, doubt", [([[3.0], [1.0], [2.5]], -0.5), ([[1.0], [1.0]], 0.0), ([[-0.25]], -0.25)])
def test_doubt_is_the_gap_of_the_first_two_classes(logits: list[list[float]], doubt: float) -> None:
    assert pointrend._doubt(torch.tensor([logits])).item() == pytest.approx(doubt)


@pytest.mark.parametrize("base, options, asked", [
    ("deeplabv3plus", {"encoder": "test_resnet"}, [40, 40]),  # logits at stride 4: two doublings
    ("deeplabv3", {"encoder": "test_resnet", "stride": 16}, [40, 40, 40, 40]),
    ("enet", {}, [40]),  # at the image's size already: once
])  # fmt: skip
@torch.no_grad()
def test_every_doubling_redoes_so_many_cells(base: str, options: dict[str, object], asked: list[int]) -> None:
    net = small(base, cells=40, **options)
    net.head = stub = Stub()
    net(torch.randn(1, 3, 64, 96))
    assert stub.asked == asked


@torch.no_grad()
def test_the_most_doubtful_cells_are_redone_and_no_others() -> None:
    net, image = small(encoder="test_resnet", cells=40), torch.randn(1, 3, 64, 96)
    net.head = Stub()
    x, tail = net.base.logits_at_stride(image)  # type: ignore[operator]
    for size in ((32, 48), (64, 96)):
        x = resize(x, size)
        gap = x.sort(1).values[:, -1] - x.sort(1).values[:, -2]
        chosen = gap.flatten().argsort()[:40]
        x = x.flatten(2)
        x[:, :, chosen] = torch.tensor([100.0, 0, 0])[None, :, None]
        x = x.unflatten(2, size)
    torch.testing.assert_close(net(image), x)
    assert tail.size == (64, 96)


@torch.no_grad()
def test_the_head_gets_fine_features_of_the_place_and_coarse_logits() -> None:
    """Features that hold their own place: a head that returns them gives every pixel its coordinates."""
    net = small(encoder="test_resnet", cells=10_000)
    image = torch.randn(1, 3, 64, 96)
    columns, rows = torch.arange(24) * 4 + 2.0, torch.arange(16) * 4 + 2.0  # pixels under the centres of the cells
    place = torch.stack([columns.expand(16, -1), rows[:, None].expand(-1, 24)])
    fine = place[None].repeat(1, 16, 1, 1)[:, : net.base.encoder.channels[net.fine]]  # type: ignore[union-attr,index]

    class Echo(nn.Module):
        def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
            return torch.cat([fine[:, :2], coarse[:, :1]], 1)

    net.head = Echo()
    net._fine = lambda image, seen: fine  # type: ignore[method-assign]
    out = net(image)
    inside = out[0, :, 2:-2, 2:-2]
    torch.testing.assert_close(inside[0], (torch.arange(96) + 0.5)[2:-2].expand(60, -1))
    torch.testing.assert_close(inside[1], (torch.arange(64) + 0.5)[2:-2, None].expand(-1, 92))
    torch.testing.assert_close(out[:, 2], net.base(image)[:, 0], rtol=1e-4, atol=1e-4)


def test_points_are_drawn_where_there_is_doubt() -> None:
    torch.manual_seed(0)
    logits = torch.zeros(1, 2, 32, 32)
    logits[:, 0, :, 12:] = 5  # doubt in the left three eighths
    points = pointrend._important(logits, 2000)
    assert points.shape == (1, 2000, 2)
    assert ((points >= 0) & (points <= 1)).all()
    assert (points[0, :1500, 0] < 12 / 32).all()  # of 6000 drawn about 2250 lie there
    assert (points[0, 1500:, 0] < 12 / 32).float().mean().item() == pytest.approx(12 / 32, abs=0.07)


def test_pairs_are_points_with_their_labels_and_the_pages_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    net = small(encoder="test_resnet", points=50, base_options={"aux": True})
    drawn = []
    original = pointrend._important
    monkeypatch.setattr(pointrend, "_important", lambda *given: drawn.append(original(*given)) or drawn[-1])
    image, labels = torch.randn(2, 3, 33, 65), torch.arange(2 * 33 * 65).view(2, 33, 65)
    (logits, truth), *dense = net.pairs(image, labels)
    assert logits.shape == (2, 3, 50)
    for n in range(2):
        for place, label in zip(drawn[0][n].tolist(), truth[n].tolist(), strict=True):
            assert label == labels[n, int(place[1] * 33), int(place[0] * 65)]
    assert len(dense) == 2  # the page's and its auxiliary head's
    assert all(one.shape == (2, 3, 33, 65) and other is labels for one, other in dense)
    sum(one.square().mean() for one, _ in [(logits, None), *dense]).backward()
    assert [key for key, p in net.named_parameters() if p.grad is None] == []


def test_the_objective_compares_pairs() -> None:
    net, loss = small(encoder="test_resnet", points=50), CrossEntropy()
    objective = Objective(net, loss, Normalise((0.0,) * 3, (1.0,) * 3)).eval()
    image, labels = torch.randn(2, 3, 33, 65), torch.randint(0, 3, (2, 33, 65))
    torch.manual_seed(1)
    value = objective(image, labels)
    torch.manual_seed(1)
    (points, truth), (dense, _) = net.pairs(image, labels)
    torch.testing.assert_close(value, loss(points, truth) + 0.4 * loss(dense, labels))


@torch.no_grad()
def test_forward_draws_nothing_and_runs_the_encoder_once() -> None:
    net, image, calls = small(encoder="test_resnet", cells=300), torch.randn(2, 3, 33, 65), []
    net.encoder.register_forward_hook(lambda *_: calls.append(1))
    state = torch.get_rng_state()
    assert torch.equal(net(image), net(image))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(calls) == 2


@torch.no_grad()
def test_threads_do_not_see_each_others_features() -> None:
    net = small(encoder="test_resnet", cells=300)
    images = [torch.randn(1, 3, 33 + 8 * index, 65) for index in range(8)]
    alone = [net(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(one, other) for one, other in zip(alone, pool.map(net, images), strict=True))


@pytest.mark.parametrize("base, options, fine", [
    ("unet2015", {"base_options": {"width": 2}}, None),
    ("fcn8s", {"base_options": {"width": 2}}, None),
    ("segnet", {"base_options": {"width": 2}}, None),
    ("icnet", {"encoder": "test_resnet", "base_options": {"channels": 8}}, None),
    ("reseg", {"encoder": "test_resnet", "base_options": {"units": (3,), "width": 3}}, 1),
    ("unet", {"encoder": "test_resnet"}, 1),
    ("unet", {"encoder": "test_vit"}, 0),
])  # fmt: skip
@torch.no_grad()
def test_any_page(base: str, options: dict[str, object], fine: int | None) -> None:
    net = small(base, cells=300, **options)
    assert net.fine == fine
    assert hasattr(net, "encoder") == (base != "unet2015")
    for size in ((1, 1), (33, 65)):
        logits = net(torch.randn(1, 3, *size))
        assert logits.shape == (1, 3, *size)
        assert logits.isfinite().all()


def test_what_is_no_page_of_images() -> None:
    with pytest.raises(ModelError, match="unknown model 'deeplab'"):
        create_model("pointrend", base="deeplab")
    with pytest.raises(ModelError, match="has no option 'depth'"):
        create_model("pointrend", base="unet", base_options={"depth": 4})
    with pytest.raises(ModelError, match="takes volumes"):
        small("vnet", base_options={"width": 2})(torch.zeros(1, 3, 32, 32))


def test_the_encoder_learns_at_its_own_rate() -> None:
    recipe = SimpleNamespace(encoder_lr=0.5, weight_decay=0, optimizer="sgd", lr=1.0, layer_decay=1.0, fused=None)
    net = small(encoder="test_resnet")
    groups = make_optimizer(recipe, net).param_groups  # type: ignore[arg-type]
    slow = {id(p) for group in groups if group["factor"] == 0.5 for p in group["params"]}
    assert slow == {id(p) for p in net.encoder.parameters()}
