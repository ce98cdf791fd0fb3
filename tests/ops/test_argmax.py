import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.ops import Tail, upsample_argmax
from atrous.ops.argmax import _by_row_bands


def disagreement(logits: torch.Tensor, labels: torch.Tensor, tail: Tail) -> float:
    """Share of pixels whose label is not the argmax of the resized logits, near ties (1e-5) set aside."""
    full = tail.apply(logits)
    best = full.amax(1)
    chosen = full.gather(1, labels.long()[:, None])[:, 0]
    return float((best - chosen > 1e-5).float().mean())


@settings(max_examples=40, deadline=None)
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


def test_crop_is_a_part_of_the_whole() -> None:
    logits = torch.randn(1, 5, 7, 6, generator=torch.Generator().manual_seed(1))
    whole = upsample_argmax(logits, (50, 40))
    part = upsample_argmax(logits, (50, 40), crop=(3, 8, 20, 30))
    assert torch.equal(part, whole[:, 3:23, 8:38])


def test_torch_keeps_its_threads() -> None:
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


@pytest.mark.parametrize("align", [False, True])
def test_the_form_for_other_devices_agrees(align: bool) -> None:
    logits = torch.randn(7, 5, 6, generator=torch.Generator().manual_seed(2))
    fused = upsample_argmax(logits[None], (31, 23), align_corners=align)[0].numpy()
    for budget in (1, 31 * 23 * 3, 1 << 20):
        plain = _by_row_bands(logits, (31, 23), align, (0, 0, 31, 23), budget).numpy()
        assert np.mean(plain != fused) < 0.002  # ties


def test_refuses_empty_logits_and_a_crop_outside() -> None:
    with pytest.raises(ValueError, match="no empty axis"):
        upsample_argmax(torch.zeros(1, 0, 2, 2), (4, 4))
    with pytest.raises(ValueError, match="crop"):
        upsample_argmax(torch.zeros(1, 2, 2, 2), (4, 4), crop=(0, 0, 5, 4))
