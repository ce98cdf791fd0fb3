"""A classifier made convolutional says at every window what the classifier says, and keeps the contract of a model."""

import copy

import pytest
import timm
import torch
import torchvision
from nets import small_vgg
from torch import nn
from torch.nn import functional

from atrous.errors import ModelError
from atrous.models import from_classifier


def lively(net: nn.Module) -> nn.Module:
    """The network, evaluating, with batch norms that have seen something."""
    torch.manual_seed(0)
    for layer in net.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return net.eval()


def torchvision_vgg(*, padded: bool = True) -> nn.Module:
    """torchvision's VGG, thin: stride 8, a 7 x 7 map flattened at 56 pixels, at 70 without padding."""
    torch.manual_seed(0)
    features = torchvision.models.vgg.make_layers([8, "M", 8, "M", 16, "M"])
    for layer in features:
        if isinstance(layer, nn.Conv2d) and not padded:
            layer.padding = (0, 0)
    with torch.device("meta"):  # a hundred million weights that go at once
        net = torchvision.models.VGG(nn.Identity(), num_classes=5, init_weights=False)
    net.features = features
    net.classifier = nn.Sequential(
        *(nn.Linear(16 * 49, 32), nn.ReLU(inplace=True), nn.Dropout(), nn.BatchNorm1d(32), nn.Linear(32, 5))
    )
    return lively(net)


class Pooled(nn.Module):
    """Convolutions without padding, the mean, a ReLU on what is flattened, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 8, 5, stride=2), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU()),
        )
        self.fc = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.adaptive_avg_pool2d(self.features(x), 1)
        return self.fc(functional.relu(torch.flatten(x, 1) - 0.1))


def slow(*values: object) -> list[object]:
    """Parameters whose tests wait for `make test-slow`."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


TIMM = ["test_resnet", "test_convnext", "test_efficientnet", *slow("test_nfnet", "test_byobnet", "test_mambaout")]
TORCHVISION = ["resnet18", "squeezenet1_1", *slow("mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5")]
LARGE = ["vgg11", "alexnet", "densenet121", "googlenet", "inception_v3", "convnext_tiny", "regnet_y_400mf",
         "efficientnet_b0", "mnasnet0_5", "resnet50", "swin_t"]  # fmt: skip


def agrees(classifier: nn.Module, size: int, options: dict[str, object] | None = None) -> None:
    """Build, and compare one score with the logits to 1e-5 of their size; the weights are all there, once."""
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    net = from_classifier(classifier, size).eval()
    image = torch.randn(2, 3, size, size)
    with torch.no_grad():
        logits, scores = classifier(image), net.scores(image)
    assert scores.shape == (*logits.shape, 1, 1)
    scale = float(logits.abs().max())
    torch.testing.assert_close(scores[:, :, 0, 0] / scale, logits / scale, rtol=0, atol=1e-5)
    assert all(torch.equal(before[key], value) for key, value in classifier.state_dict().items())
    for key, value in net.net.state_dict().items():
        assert torch.equal(value.flatten(), before[key].flatten())


@pytest.mark.parametrize("name", TIMM)
def test_timms_classifiers(name: str) -> None:
    agrees(lively(timm.create_model(name, num_classes=7)), 96)


@pytest.mark.parametrize("pool", ["max", *slow("avgmax", "catavgmax")])
def test_timms_other_poolings(pool: str) -> None:
    agrees(lively(timm.create_model("test_resnet", num_classes=7, global_pool=pool)), 96)


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_classifiers(name: str) -> None:
    agrees(lively(getattr(torchvision.models, name)(weights=None, num_classes=7)), 64)


def test_flattened_heads() -> None:
    agrees(torchvision_vgg(), 56)
    agrees(torchvision_vgg(padded=False), 70)
    agrees(small_vgg(), 224)
    agrees(lively(Pooled()), 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_torchvisions_larger_classifiers(name: str) -> None:
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    agrees(lively(getattr(torchvision.models, name)(weights=None, **options)), 299 if name == "inception_v3" else 224)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "repvit_m0_9", "focalnet_tiny_srf", "densenet121", "vgg11"])
def test_timms_larger_classifiers(name: str) -> None:
    agrees(lively(timm.create_model(name)), 224)


@pytest.mark.parametrize("build, size, stride", [(lambda: torchvision_vgg(padded=False), 70, 8),
                                                 (lambda: lively(Pooled()), 40, 4)])  # fmt: skip
@torch.no_grad()
def test_without_padding_every_score_is_that_of_its_window(build: object, size: int, stride: int) -> None:
    classifier = build()  # type: ignore[operator]
    net, image = from_classifier(classifier, size), torch.randn(1, 3, size + 3 * stride + 1, size + 2 * stride)
    scores = net.scores(image)
    assert net.stride == stride
    assert scores.shape == (1, 5, 4, 3)
    for i in range(4):
        for j in range(3):
            window = image[:, :, stride * i : stride * i + size, stride * j : stride * j + size]
            torch.testing.assert_close(scores[:, :, i, j], classifier(window), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_with_padding_every_score_is_the_heads_of_its_features() -> None:
    classifier = lively(torchvision.models.resnet18(weights=None, num_classes=7))
    net, image = from_classifier(classifier, 64), torch.randn(1, 3, 128, 97)
    trunk = nn.Sequential(*list(classifier.children())[:-2])
    features, scores = trunk(image), net.scores(image)
    assert net.stride == 32
    assert features.shape[2:] == (4, 4)
    for i in range(3):
        for j in range(3):
            expected = classifier.fc(features[:, :, i : i + 2, j : j + 2].mean((2, 3)))
            torch.testing.assert_close(scores[:, :, i, j], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_scores_lie_at_the_centres_of_their_windows() -> None:
    """On a ramp a classifier that takes the mean says where its window's centre is; the logits are the ramp again."""
    classifier = nn.Sequential(nn.Conv2d(1, 1, 8, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 1))
    for layer in (classifier[0], classifier[3]):
        nn.init.constant_(layer.weight, 1 / layer.weight.numel())
        nn.init.zeros_(layer.bias)
    net = from_classifier(classifier, (32, 16))
    ramps = torch.stack(torch.meshgrid(torch.arange(70.0), torch.arange(50.0), indexing="ij"))[:, None]
    down, across = net(ramps)
    torch.testing.assert_close(down[0, 16:48], ramps[0, 0, 16:48])  # from the first window's centre to the last one's
    torch.testing.assert_close(across[0, :, 8:40], ramps[1, 0, :, 8:40])


@torch.no_grad()
def test_contract_of_a_model() -> None:
    classifier = lively(timm.create_model("test_resnet", num_classes=7))
    net = from_classifier(classifier, 64)
    assert (net.classes, net.in_channels, net.size, net.training) == (7, 3, (64, 64), False)
    for size in ((1, 1), (33, 65), (127, 65), (64, 96)):
        image = torch.randn(2, 3, *size)
        logits, (low, tail) = net(image), net.logits_at_stride(image)
        assert logits.shape == (2, 7, *size)
        assert torch.equal(tail.apply(low), logits)
        torch.testing.assert_close(logits[1:], net(image[1:]), rtol=1e-4, atol=1e-5)
    image = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(net(image), classifier(image)[:, :, None, None].expand(-1, -1, 64, 64))
    other = from_classifier(lively(timm.create_model("test_resnet", num_classes=7)), 64)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(image), net(image))
    torch.testing.assert_close(copy.deepcopy(net)(image), net(image))


def test_it_trains_on_one_image_and_drops_out_again() -> None:
    classifier = lively(timm.create_model("test_resnet", num_classes=7, drop_rate=0.5)).train()
    net = from_classifier(classifier, 64)
    assert net.training
    image = torch.randn(1, 3, 1, 1)
    net(image).square().mean().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert all(parameter.grad is None for parameter in classifier.parameters())
    for norm in (layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)):
        norm.eval()
    assert not torch.equal(net(image), net(image))


@pytest.mark.parametrize("size", [(100, 75), *slow((64, 64))])
@torch.no_grad()
def test_it_exports(size: tuple[int, int]) -> None:
    net, image = from_classifier(lively(Pooled()), 40), torch.randn(1, 3, *size)
    torch.testing.assert_close(torch.export.export(net, (image,)).module()(image), net(image))


def test_the_size_of_timms_weights_is_the_default() -> None:
    assert from_classifier(timm.create_model("test_efficientnet", num_classes=3)).size == (160, 160)


@pytest.mark.parametrize("build, size, words", [
    (lambda: timm.create_model("test_vit"), None, "VisionTransformer at 160 x 160 pixels cannot score every window"),
    (lambda: torchvision_vgg(), 64, "VGG at 64 x 64 pixels cannot score every window"),
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), 2, "has no convolution"),
    (lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()), 8, "cannot score every window"),
])  # fmt: skip
def test_what_is_no_such_classifier_is_refused(build: object, size: int | None, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        from_classifier(build(), size)  # type: ignore[operator]
