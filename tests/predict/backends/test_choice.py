"""`auto` measures once, remembers, and never takes a backend that gives other labels."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from brightness import Brightness, predictor
from platformdirs import user_cache_path
from torch import nn

from atrous.errors import MissingExtra, ModelError
from atrous.models import create_model
from atrous.ops import Tail
from atrous.predict.backends import choice, open_backend
from atrous.predict.backends.choice import agreement
from atrous.predict.backends.torch import TorchBackend, folded

CARD = predictor().card


class Other:
    """A backend beside torch's that answers at once, rightly or not."""

    def __init__(self, name: str, change: Any = lambda logits: logits) -> None:
        self.name, self.change, self.calls = name, change, 0

    def __call__(self, pixels: np.ndarray) -> tuple[torch.Tensor, Tail]:
        self.calls += 1
        logits = (torch.from_numpy(pixels).float().mean(2) - 127.5) / 127.5
        return self.change(torch.stack([-logits, logits])[None]), Tail(pixels.shape[:2])


class Slow(Brightness):
    """A network that everything else is faster than."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        time.sleep(0.03)
        return super().forward(image)


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Backends by name, in the place of the real ones; torch stays."""
    stand_ins: dict[str, Any] = {}

    def opening(name: str, model: nn.Module, card: Any, **options: Any) -> Any:
        if name == "torch":
            return open_backend(name, model, card, **options)
        if isinstance(stand_ins.get(name), Other):
            return stand_ins[name]
        raise stand_ins.get(name, MissingExtra("it is not here"))

    monkeypatch.setattr(choice, "open_backend", opening)
    monkeypatch.setattr(choice, "candidates", lambda device="cpu": {"torch": {}, "onnx": {}, "openvino": {}})
    monkeypatch.setattr(choice, "SIZE", (48, 64))
    return stand_ins


def kept() -> dict[str, Any]:
    (path,) = (Path(user_cache_path("atrous")) / "backends").glob("*.json")
    return json.loads(path.read_text())


def test_the_fastest_that_agrees_is_taken_and_remembered(others: dict[str, Any]) -> None:
    others["onnx"] = Other("onnx")
    assert choice.fastest(Slow(), CARD) is others["onnx"]
    assert kept()["backend"] == "onnx"
    assert kept()["refused"] == {"openvino": "it is not here"}
    assert set(kept()["seconds"]) == {"torch", "onnx"}
    others["onnx"].calls = 0
    assert choice.fastest(Slow(), CARD) is others["onnx"]
    assert others["onnx"].calls == 0  # from the cache


@pytest.mark.parametrize("change", [
    lambda logits: -logits,
    lambda logits: logits * float("nan"),
    lambda logits: logits[:, :, :-1],
    lambda logits: logits + torch.tensor([0.3, 0.0])[:, None, None],
], ids=["swapped", "nan", "smaller", "shifted"])  # fmt: skip
def test_wrong_labels_are_refused_however_fast(others: dict[str, Any], change: Any) -> None:
    others["onnx"] = Other("onnx", change)
    assert choice.fastest(Slow(), CARD).name == "torch"
    assert "labels equal on" in kept()["refused"]["onnx"]


def test_a_backend_that_fails_is_refused(others: dict[str, Any]) -> None:
    def fail(logits: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("the runtime\nsays much")

    others["onnx"], others["openvino"] = Other("onnx", fail), RuntimeError("no such processor")
    assert choice.fastest(Slow(), CARD).name == "torch"
    assert kept()["refused"] == {"onnx": "the runtime", "openvino": "no such processor"}


def test_a_kept_choice_that_is_gone_is_measured_again(others: dict[str, Any]) -> None:
    others["onnx"] = Other("onnx")
    choice.fastest(Slow(), CARD)
    del others["onnx"]
    assert choice.fastest(Slow(), CARD).name == "torch"
    others["openvino"] = Other("openvino")
    (path,) = (Path(user_cache_path("atrous")) / "backends").glob("*.json")
    path.write_text('{"backend": ')
    assert choice.fastest(Slow(), CARD) is others["openvino"]


def test_other_weights_are_another_choice(others: dict[str, Any]) -> None:
    others["onnx"] = Other("onnx")
    for seed in range(2):
        torch.manual_seed(seed)
        choice.fastest(create_model("unet2015", classes=2, width=1).eval(), CARD)
    assert len(list((Path(user_cache_path("atrous")) / "backends").glob("*.json"))) == 2


def test_agreement_by_hand() -> None:
    truth = torch.zeros(1, 2, 10, 10)
    truth[0, 1] = 1.0
    truth[0, 1, 0] = 0.05  # ten pixels that float32 is not sure of
    other = truth.clone()
    other[0, 1, 0, :4] = -1.0
    found = agreement((truth, Tail((10, 10))), (other, Tail((10, 10))))
    assert (found.all, found.sure, found.passes) == (0.96, 1.0, False)
    other[0, 1, 5, 5] = -1.0
    assert agreement((truth, Tail((10, 10))), (other, Tail((10, 10)))).sure == pytest.approx(89 / 90)
    assert choice.Agreement(0.995, 0.9999).passes
    assert not choice.Agreement(1.0, 0.9998).passes


def test_unknown_backends_and_missing_extras_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="unknown backend 'onx'; did you mean 'onnx'"):
        open_backend("onx", Brightness(), CARD)
    for name, package in (("onnx", "onnxruntime"), ("openvino", "openvino")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtra, match=r"pip install 'atrous\["):
            open_backend(name, Brightness(), CARD)


def test_importing_predict_imports_no_runtime() -> None:
    code = "import sys, atrous.predict; sys.exit(bool({'onnxruntime', 'openvino', 'onnx'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name, options", [
    ("deeplabv3plus", {"encoder": "tf_efficientnet_lite0"}),
    ("unet", {"encoder": "test_resnet"}),
    ("unet3d", {"width": 1}),
])  # fmt: skip
def test_norms_are_folded(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = create_model(name, classes=3, **options).eval()
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(layer.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.uniform_(layer.weight, 0.5, 2)
    quick = folded(model, 3)
    norms = [sum(isinstance(one, nn.modules.batchnorm._BatchNorm) for one in net.modules()) for net in (model, quick)]
    assert norms[0] > 0
    assert norms[1] == 0
    image = torch.randn(2, 3, *((9, 17, 21) if name == "unet3d" else (75, 98)))
    with torch.no_grad():
        torch.testing.assert_close(quick(image), model(image), rtol=1e-3, atol=1e-3)


def test_a_convolution_that_others_read_keeps_its_norm() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.twice = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            x = self.conv(image)
            return self.twice(self.twice(self.norm(x) + x))

    model = Shared().eval()
    nn.init.uniform_(model.norm.running_var, 3, 4)  # type: ignore[arg-type]
    assert sum(isinstance(one, nn.BatchNorm2d) for one in folded(model, 3).modules()) == 2


def test_the_model_itself_stays_as_it_is() -> None:
    model = create_model("unet", classes=2, encoder="test_resnet").eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    backend = TorchBackend(model, CARD)
    backend(np.zeros((33, 47, 3), np.uint8))
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
