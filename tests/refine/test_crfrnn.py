"""CRF-RNN and ConvCRF against mean field by brute force in float64, by gradcheck, and as torch modules."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from atrous.errors import DataError, ModelError
from atrous.ops.lattice_torch import Lattice
from atrous.refine import CRFRNN, ConvCRF, dense_crf
from atrous.refine.crfrnn import window_sum


def scene(
    height: int, width: int, classes: int, channels: int = 3, batch: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two tones with noise, 0..255, and logits that know a little of them."""
    rng = np.random.default_rng(height * width + classes)
    tone = np.arange(width) > width / 2
    image = 20 + 60 * tone + rng.normal(0, 6, (batch, channels, height, width))
    logits = rng.normal(0, 1, (batch, classes, height, width))
    logits[:, 1] += tone
    return torch.tensor(image), torch.tensor(logits)


def features(image: torch.Tensor, sxy: float, srgb: float | None) -> np.ndarray:
    """(H W, 2 or 2 + C): x, y and the colours of each pixel of (C, H, W), each over its width."""
    height, width = image.shape[1:]
    rows = []
    for y, x in itertools.product(range(height), range(width)):
        colours = [] if srgb is None else [float(value) / srgb for value in image[:, y, x]]
        rows.append([x / sxy, y / sxy, *colours])
    return np.array(rows)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def on_the_lattice(points: np.ndarray) -> np.ndarray:
    """The lattice's kernel as a matrix, column by column, each row over its sum."""
    matrix = Lattice(torch.tensor(points)).filter(torch.eye(len(points), dtype=torch.float64)).numpy()
    return matrix / matrix.sum(1, keepdims=True)


def gaussian(points: np.ndarray) -> np.ndarray:
    return np.exp(-((points[:, None] - points) ** 2).sum(2) / 2)


def perturbed(layer: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return layer.double()


@pytest.mark.parametrize("steps", [1, 5])
@torch.no_grad()
def test_crfrnn_is_mean_field_with_the_lattices_own_matrix(steps: int) -> None:
    image, logits = scene(9, 11, 4, batch=2)
    layer = CRFRNN(4, gaussian=(2.0, 3.0), bilateral=(20.0, 9.0, 5.0), iterations=(steps, 7))
    w_s, w_b, m = (part.double().numpy() for part in (layer.spatial, layer.bilateral, layer.compatibility))
    np.testing.assert_array_equal([w_s, w_b, m], [3 * np.eye(4), 5 * np.eye(4), np.eye(4)])
    perturbed(layer)
    w_s, w_b, m = (part.numpy() for part in (layer.spatial, layer.bilateral, layer.compatibility))
    for one in range(2):
        k_s = on_the_lattice(features(image[one], 2.0, None))
        k_b = on_the_lattice(features(image[one], 20.0, 9.0))
        for mode, count in ((True, steps), (False, 7)):
            unary = logits[one].flatten(1).T.numpy()
            x = unary
            for _ in range(count):
                q = softmax(x)
                x = unary + ((k_s @ q) @ w_s.T + (k_b @ q) @ w_b.T) @ m.T
            found = layer.train(mode)(image, logits)[one].flatten(1).T.numpy()
            assert found.shape == unary.shape
            np.testing.assert_allclose(found, x, atol=1e-6)
            assert np.abs(x - unary).max() > 1


@torch.no_grad()
def test_a_new_crfrnn_is_the_dense_crf() -> None:
    image, logits = (x.float() for x in scene(26, 31, 4))
    probabilities, photo = logits.softmax(1)[0].numpy(), image[0].permute(1, 2, 0).numpy()
    dense = dense_crf(probabilities, photo, preset="crfasrnn", iterations=10)
    found = CRFRNN(4).eval()(image, logits).softmax(1)[0].numpy()
    np.testing.assert_allclose(found, dense, atol=1e-4)
    assert np.abs(dense - probabilities).max() > 0.3


def test_both_lattices_give_one_result_and_one_gradient() -> None:
    layer, image, logits = CRFRNN(3), *scene(20, 30, 3, batch=2)
    seen = []
    for dtype in (torch.float32, torch.float64):
        x = logits.to(dtype).requires_grad_()
        layer.zero_grad()
        refined = layer(image, x)
        assert refined.dtype == dtype
        nn.functional.cross_entropy(refined, (image[:, 0] > 60).long()).backward()
        seen.append([refined, x.grad, *(p.grad.clone() for p in layer.parameters())])
    for one, other in zip(*seen, strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mix", [None, 20.0])
@torch.no_grad()
def test_convcrf_whose_window_covers_the_image_is_dense_mean_field(mix: float | None) -> None:
    image, logits = scene(5, 7, 3, batch=2)
    layer = ConvCRF(3, window=13, blur=1, gaussian=(2.0, 3.0), bilateral=(mix, 15.0, 10.0)).double()
    for one in range(2):
        unary = np.log(softmax(logits[one].flatten(1).T.numpy()))
        near = gaussian(features(image[one], 2.0, None))
        alike = gaussian(features(image[one], mix or math.inf, 15.0))
        near, alike = (k / np.sqrt(np.outer(k.sum(1), k.sum(1))) for k in (near, alike))
        x = unary
        for _ in range(5):
            x = 0.8 * unary + 0.2 * (3 * near + 10 * alike) @ softmax(x)
        found = layer(image, logits)[one].flatten(1).T.numpy()
        np.testing.assert_allclose(found, x, atol=1e-5)
        plain = ConvCRF(3, window=13, blur=1, gaussian=(2.0, 3.0), bilateral=(mix, 15.0, 10.0), normalisation="none")
        near, alike = (gaussian(features(image[one], s, c)) for s, c in ((2.0, None), (mix or math.inf, 15.0)))
        x = unary
        for _ in range(5):
            x = 0.8 * unary + 0.2 * (3 * near + 10 * alike) @ softmax(x)
        np.testing.assert_allclose(plain.double()(image, logits)[one].flatten(1).T.numpy(), x, atol=1e-5)


@torch.no_grad()
def test_convcrf_sees_its_window_and_no_further() -> None:
    image, logits = scene(9, 9, 2)
    layer = ConvCRF(2, window=3, blur=1, iterations=1).double()
    before = layer(image, logits)
    other = logits.clone()
    other[0, :, 4, 4] += torch.tensor([5.0, -5.0])
    moved = (layer(image, other) - before).abs().amax(1)[0] > 1e-9
    assert moved.nonzero().tolist() == [[y, x] for y in (3, 4, 5) for x in (3, 4, 5)]


@torch.no_grad()
def test_convcrf_blurs_by_means_of_cells() -> None:
    """Maps that are constant on cells of 2 x 2 give the messages of the small maps, their positions twice as far."""
    small, logits = scene(4, 6, 3)
    coarse = ConvCRF(3, window=5, blur=1, gaussian=(1.5, 3.0), bilateral=(8.0, 15.0, 10.0)).double()
    fine = ConvCRF(3, window=5, blur=2, gaussian=(3.0, 3.0), bilateral=(16.0, 15.0, 10.0)).double()
    twice = [x.repeat_interleave(2, 2).repeat_interleave(2, 3) for x in (small, logits)]
    torch.testing.assert_close(fine.kernel(twice[0]), coarse.kernel(small))
    one = ConvCRF(3, window=5, blur=2, iterations=1, gaussian=(3.0, 3.0), bilateral=(16.0, 15.0, 10.0)).double()
    unary = logits.log_softmax(1)
    message = window_sum(coarse.kernel(small), unary.softmax(1), 5)
    expected = nn.functional.interpolate(message, (8, 12), mode="bilinear")
    torch.testing.assert_close(one(*twice), 0.8 * twice[1].log_softmax(1) + 0.2 * expected)
    for size in ((1, 1), (3, 7), (5, 4)):
        assert ConvCRF(3)(*scene(*size, 3)).shape == (1, 3, *size)


every_layer = pytest.mark.parametrize("layer", [
    CRFRNN(2, gaussian=(2.0, 1.0), bilateral=(9.0, 20.0, 1.0), iterations=(2, 2)),
    ConvCRF(2, window=3, blur=1, iterations=2, bilateral=(9.0, 20.0, 1.0)),
    ConvCRF(2, window=3, blur=2, iterations=2, normalisation="none"),
], ids=["crfrnn", "convcrf", "convcrf-blurred"])  # fmt: skip


@every_layer
def test_gradients_are_those_of_differences(layer: nn.Module) -> None:
    image, logits = scene(3, 4, 2)
    perturbed(layer)
    names, values = zip(*layer.named_parameters(), strict=True)

    def run(logits: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (image, logits))

    assert torch.autograd.gradcheck(run, (logits.requires_grad_(), *values))


@every_layer
def test_every_parameter_and_the_logits_get_a_gradient_and_the_image_none(layer: nn.Module) -> None:
    image, logits = (x.float().requires_grad_() for x in scene(8, 9, 2, batch=2))
    layer.float().zero_grad()
    nn.functional.cross_entropy(layer(image, logits), torch.randint(0, 2, (2, 8, 9))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in layer.parameters())
    assert logits.grad is not None
    assert logits.grad.any()
    assert image.grad is None


@pytest.mark.parametrize("layer", [CRFRNN(3), ConvCRF(3)], ids=["crfrnn", "convcrf"])
@torch.no_grad()
def test_it_takes_any_channels_and_dtype_batches_and_orders_of_classes(layer: nn.Module) -> None:
    layer.eval()
    for channels in (1, 3, 6):
        image, logits = scene(9, 12, 3, channels, batch=2)
        image = image.round().to(torch.uint8)
        together = layer(image, logits.float())
        assert together.dtype == torch.float32
        alone = [layer(image[i : i + 1], logits[i : i + 1].float()) for i in range(2)]
        torch.testing.assert_close(together, torch.cat(alone))
        torch.testing.assert_close(layer(image.float(), logits.float()), together)
        torch.testing.assert_close(layer(image, logits).float(), together, rtol=1e-4, atol=1e-4)
        turned = layer(image, logits.float().flip(1)).flip(1)
        torch.testing.assert_close(turned, together, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(image, logits.float()), together)
        assert layer(image, logits.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("layer", [CRFRNN(2), ConvCRF(2, blur=1)], ids=["crfrnn", "convcrf"])
@torch.no_grad()
def test_it_takes_noise_away_and_keeps_the_edge(layer: nn.Module) -> None:
    image = torch.full((1, 3, 24, 24), 60.0)
    image[..., 12:] = 180
    truth = (image[0, 0] > 100).long()
    torch.manual_seed(0)
    logits = torch.stack([1 - truth, truth]).float()[None] + torch.randn(1, 2, 24, 24)
    wrong, left = ((x.argmax(1)[0] != truth).sum().item() for x in (logits, layer.eval()(image, logits)))
    assert wrong > 60
    assert left <= wrong / 10


@pytest.mark.parametrize("build, words", [
    (lambda: CRFRNN(1), "CRF of 1 classes was asked for; give a whole number of them, at least 2"),
    (lambda: CRFRNN(2.0), "CRF of 2.0 classes"),
    (lambda: ConvCRF(0), "CRF of 0 classes"),
    (lambda: CRFRNN(2, gaussian=(-3, 3)), r"gaussian is \(-3, 3\); expected widths above 0"),
    (lambda: CRFRNN(2, bilateral=(160, 0, 5)), r"bilateral is \(160, 0, 5\)"),
    (lambda: CRFRNN(2, bilateral=(None, 3, 5)), r"bilateral is \(None, 3, 5\)"),
    (lambda: CRFRNN(2, bilateral=(160, 3, math.nan)), "expected widths above 0, then a finite weight"),
    (lambda: CRFRNN(2, iterations=(0, 10)), r"iterations: \(0, 10\) was given; expected whole numbers"),
    (lambda: ConvCRF(2, window=4), "window is 4; expected an odd number"),
    (lambda: ConvCRF(2, blur=0), r"blur and iterations: \(11, 0, 5\)"),
    (lambda: ConvCRF(2, bilateral=(80, -1, 5)), r"bilateral is \(80, -1, 5\)"),
    (lambda: ConvCRF(2, normalisation="after"), "normalisation is 'after'; ConvCRF takes"),
])  # fmt: skip
def test_impossible_wishes_are_one_sentence(build: object, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build()  # type: ignore[operator]


@pytest.mark.parametrize("kind", [CRFRNN, ConvCRF])
def test_images_and_logits_that_do_not_fit_are_one_sentence(kind: type[nn.Module]) -> None:
    layer, image, logits = kind(2), torch.zeros(1, 3, 4, 5), torch.zeros(1, 2, 4, 5)
    for one, other, words in [
        (image, logits[:, :, :3], "give both the same N, H and W"),
        (image.expand(2, -1, -1, -1), logits, "give both the same"),
        (image, logits.expand(-1, 2, -1, -1).repeat(1, 2, 1, 1), "logits of 4 classes were given to a CRF of 2"),
        (image[0], logits, r"the image has shape \(3, 4, 5\)"),
        (image[..., :0], logits[..., :0], "with at least one pixel"),
    ]:
        with pytest.raises(DataError, match=words):
            layer(one, other)


def test_too_many_channels_and_colours_that_are_not_finite() -> None:
    logits = torch.zeros(1, 2, 4, 5)
    with pytest.raises(DataError, match=r"image has 7 channels, and CRFRNN filters by 6 at most; use ConvCRF"):
        CRFRNN(2)(torch.zeros(1, 7, 4, 5), logits)
    ConvCRF(2)(torch.zeros(1, 7, 4, 5), logits)
    for kind, value in itertools.product((CRFRNN, ConvCRF), (math.nan, math.inf)):
        with pytest.raises(DataError, match="the image holds values that are not finite"):
            kind(2)(torch.full((1, 3, 4, 5), value), logits)


def test_crfrnn_says_that_it_cannot_be_exported() -> None:
    image, logits = (x.float() for x in scene(8, 9, 3))
    with torch.no_grad(), pytest.raises(ModelError, match="an exported graph cannot; export a network with ConvCRF"):
        torch.export.export(CRFRNN(3).eval(), (image, logits))


@pytest.mark.slow
@torch.no_grad()
def test_convcrf_exports() -> None:
    for size in ((24, 32), (13, 18)):
        image, logits = (x.float() for x in scene(*size, 3))
        layer = ConvCRF(3, window=3).eval()  # 11 takes a minute
        exported = torch.export.export(layer, (image, logits)).module()
        torch.testing.assert_close(exported(image, logits), layer(image, logits))


@pytest.mark.parametrize("layer", [CRFRNN, ConvCRF])
def test_colours_that_are_not_in_0_to_255_are_warned_of(layer: type[nn.Module]) -> None:
    image, logits = torch.rand(1, 3, 8, 8), torch.randn(1, 2, 8, 8)
    with pytest.warns(UserWarning, match=r"colours lie in 0.*, but are taken in 0\.\.255"):
        layer(2)(image, logits)
    layer(2)((image * 255).round(), logits)
