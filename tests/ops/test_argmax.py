import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atrous.errors import ModelError
from atrous.ops import Tail, argmax, openmp, upsample_argmax, upsample_confidence, upsample_threshold
from atrous.ops.argmax import _by_classes


def disagreement(logits: torch.Tensor, labels: torch.Tensor, tail: Tail) -> float:
    """Share of pixels whose label is not the argmax of the resized logits, near ties (1e-5) set aside."""
    full = tail.apply(logits)
    best = full.amax(1)
    chosen = full.gather(1, labels.long()[:, None])[:, 0]
    return float((best - chosen > 1e-5).float().mean())


@pytest.fixture(autouse=True, params=["OpenMP", "threads"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own threads where OpenMP is there, as here; else threads of our own."""
    if request.param == "threads":
        monkeypatch.setattr(openmp, "OPENMP", False)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 8), st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    align=st.booleans(),
)
def test_equals_interpolate_and_argmax(seed: int, shape: tuple[int, ...], size: tuple[int, int], align: bool) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    labels = upsample_argmax(logits, size, align_corners=align)
    assert labels.shape == (shape[0], *size)
    assert labels.dtype == torch.uint8
    assert disagreement(logits, labels, Tail(size, None, align)) == 0


@pytest.mark.parametrize("size", [(50, 40), (56, 48), (56, 42)])
def test_crop_is_a_part_of_the_whole(size: tuple[int, int]) -> None:
    logits = torch.randn(1, 5, 7, 6, generator=torch.Generator().manual_seed(1))
    whole = upsample_argmax(logits, size)
    part = upsample_argmax(logits, size, crop=(3, 10, 20, 30))
    assert torch.equal(part, whole[:, 3:23, 10:40])


@pytest.mark.parametrize("threads", ["OpenMP"], indirect=True)
def test_torch_keeps_its_threads(threads: None) -> None:
    """Numba shares OpenMP with torch; another number of threads would change the sums of a training step."""
    code = (
        "import torch; torch.set_num_threads(1); from atrous.ops import upsample_argmax;"
        "upsample_argmax(torch.zeros(1, 2, 4, 4), (8, 8)); assert torch.get_num_threads() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ties_go_to_the_lowest_class() -> None:
    assert upsample_argmax(torch.zeros(1, 4, 3, 3), (9, 9)).max() == 0


def test_many_classes_are_uint16() -> None:
    logits = torch.zeros(1, 300, 2, 2)
    logits[:, 299] = 1
    labels = upsample_argmax(logits, (4, 4))
    assert labels.dtype == torch.uint16
    assert int(labels.numpy().min()) == 299


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**31),
    classes=st.sampled_from([1, 2, 8, 9, 21, 257, 300]),
    source=st.tuples(st.integers(1, 5), st.integers(1, 40)),
    scale=st.tuples(st.integers(1, 9), st.sampled_from([*range(1, 10), 12, 16, 1.3])),
    align=st.booleans(),
)
def test_labels_and_their_probabilities(
    seed: int, classes: int, source: tuple[int, int], scale: tuple[int, float], align: bool
) -> None:
    """All phases of whole strides, more than a byte of classes, widths that are no whole vectors, other strides."""
    logits = 3 * torch.randn(1, classes, *source, generator=torch.Generator().manual_seed(seed))
    tail = Tail((source[0] * scale[0], int(source[1] * scale[1])), None, align)
    labels, confidence = upsample_confidence(logits, tail.size, align_corners=align)
    assert torch.equal(labels, upsample_argmax(logits, tail.size, align_corners=align))
    assert disagreement(logits, labels, tail) == 0
    torch.testing.assert_close(confidence, tail.apply(logits).softmax(1).amax(1), rtol=0, atol=1e-5)


def test_wide_bands_are_cut_into_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(1, 6, 5, 43, generator=torch.Generator().manual_seed(3))
    whole = upsample_confidence(logits, (15, 172))
    monkeypatch.setattr(argmax, "BAND", 6 * 16)
    tiled = upsample_confidence(logits, (15, 172))
    assert all(torch.equal(a, b) for a, b in zip(whole, tiled, strict=True))


@pytest.mark.parametrize("size", [(9, 24, 28), (8, 13, 20), (2, 5, 7)])
@pytest.mark.parametrize("align", [False, True])
def test_volumes_are_resized_trilinearly(size: tuple[int, int, int], align: bool) -> None:
    logits = torch.randn(2, 4, 3, 6, 7, generator=torch.Generator().manual_seed(4))
    full = torch.nn.functional.interpolate(logits, size, mode="trilinear", align_corners=align)
    labels, confidence = upsample_confidence(logits, size, align_corners=align)
    assert torch.equal(labels, upsample_argmax(logits, size, align_corners=align))
    assert float((full.amax(1) - full.gather(1, labels.long()[:, None])[:, 0]).max()) < 1e-5
    torch.testing.assert_close(confidence, full.softmax(1).amax(1), rtol=0, atol=2e-6)


@pytest.mark.parametrize("crop", [None, (3, 8, 20, 30)])
def test_thresholds_decide_class_by_class(crop: tuple[int, int, int, int] | None) -> None:
    logits, levels = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(5)), torch.tensor([0.2, 0.5, 0.9])
    masks = upsample_threshold(logits, (50, 40), levels, crop=crop)
    assert masks.dtype == torch.bool
    assert torch.equal(masks, Tail((50, 40), crop).apply(logits).sigmoid() > levels[:, None, None])
    assert torch.equal(upsample_threshold(logits, (50, 40)), Tail((50, 40)).apply(logits) > 0)


@pytest.mark.parametrize("align", [False, True])
def test_the_form_for_other_devices_agrees(align: bool) -> None:
    logits = torch.randn(1, 7, 5, 6, generator=torch.Generator().manual_seed(2))
    fused, sure = upsample_confidence(logits, (31, 23), align_corners=align)
    for budget in (1, 31 * 23 * 3, 1 << 20):
        plain, confidence = _by_classes(logits, (31, 23), align, None, True, budget)
        assert (plain != fused).double().mean() < 0.002  # ties
        torch.testing.assert_close(confidence, sure)
    part, none = _by_classes(logits, (31, 23), align, (3, 2, 9, 11), False)
    assert torch.equal(part, plain[:, 3:12, 2:13])
    assert none.numel() == 0


@pytest.mark.parametrize("shape, size, crop, words", [
    ((1, 0, 2, 2), (4, 4), None, "no empty axis"),
    ((1, 2, 2, 2), (4, 4), (0, 0, 5, 4), "crop"),
    ((1, 2, 2, 2), (4, 0), None, r"\(4, 0\)"),
    ((1, 2, 2, 2), (4, 4, 4), None, "expected"),
    ((1, 2, 2, 2, 2), (4, 4, 4), (0, 0, 2, 2), "crop"),
])  # fmt: skip
def test_what_cannot_be(shape: tuple[int, ...], size: tuple[int, ...], crop: object, words: str) -> None:
    for function in (upsample_argmax, upsample_confidence, upsample_threshold):
        with pytest.raises(ValueError, match=words):
            function(torch.zeros(shape), size, crop=crop)


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (13, 21)])
@pytest.mark.parametrize("form", [upsample_argmax, lambda *a: upsample_confidence(*a)[0], "other devices"])
def test_a_forbidden_class_never_wins_and_an_infinite_one_does(size: tuple[int, int], form: object) -> None:
    logits = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    logits[:, 0] = -torch.inf

    def labels_of(given: torch.Tensor) -> torch.Tensor:
        if form == "other devices":
            return torch.cat([_by_classes(argmax.finite(one[None]), size, False, None, True)[0] for one in given])
        return form(given, size)  # type: ignore[operator, no-any-return]

    found = labels_of(logits)
    assert (found > 0).all()
    others = upsample_argmax(logits[:, 1:], size)
    assert torch.equal(found.long(), others.long() + 1)
    logits[:, 2] = torch.inf
    assert (labels_of(logits) == 2).all()
    assert (labels_of(torch.full((1, 3, 8, 8), -torch.inf)) == 0).all()


@pytest.mark.parametrize("most", [3e38, -3e38, 1e30])
def test_numbers_near_the_end_of_float32_are_numbers(most: float) -> None:
    logits = torch.zeros(1, 3, 6, 6)
    logits[:, 0], logits[:, 1] = -1.0, most
    assert (upsample_argmax(logits, (6, 6)) == (1 if most > 0 else 2)).all()


@pytest.mark.parametrize("form", [upsample_argmax, upsample_confidence, upsample_threshold])
def test_nan_is_an_error_of_the_network(form: object) -> None:
    logits = torch.zeros(1, 3, 6, 6)
    logits[0, 1, 2, 3] = torch.nan
    with pytest.raises(ModelError, match="the network answers nan"):
        form(logits, (12, 12))  # type: ignore[operator]
