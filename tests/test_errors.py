"""Memory that is used up is a sentence, and never another fault."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from command_line import SMALL, run
from worlds import make_world

import atrous
from atrous.errors import OutOfMemory, is_out_of_memory, let_through, memory_in_words
from atrous.io import read_image, write_image

USED_UP: list[Exception] = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("std::bad_alloc"),
    MemoryError(),
    np._core._exceptions._ArrayMemoryError((9,), np.dtype(np.float64)),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    cv2.error("OpenCV(4.10) error: (-4:Insufficient memory) Failed to allocate 40000000000 bytes"),
    ImportError("libtorch_cuda.so: failed to map segment from shared object"),
    RuntimeError("can't start new thread"),
]


@pytest.mark.parametrize("error", USED_UP, ids=lambda error: type(error).__name__)
def test_it_is_known_whoever_says_it(error: Exception) -> None:
    assert is_out_of_memory(error)
    with pytest.raises(type(error)):
        let_through(error)
    for options in ("--batch", "--crop", "--window", "accumulate"):
        with pytest.raises(OutOfMemory, match=options), memory_in_words():
            raise error


@pytest.mark.parametrize("error", [RuntimeError("shape '[2]' is invalid"), ValueError(), KeyError("memory")])
def test_other_errors_are_none(error: Exception) -> None:
    assert not is_out_of_memory(error)
    let_through(error)
    with pytest.raises(type(error)), memory_in_words():
        raise error


def test_a_wrong_name_is_no_damaged_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    for error in (NameError("name 'x' is not defined"), MemoryError()):
        monkeypatch.setattr("atrous.io.images.decode_parts", raising(error))
        with pytest.raises(type(error)):
            read_image(tmp_path / "a.png")


def test_memory_is_no_fault_of_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atrous.encoders.build.timm.create_model", raising(USED_UP[1]))
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        atrous.create_model("unet", classes=2, encoder="resnet18")


@pytest.mark.parametrize("error", USED_UP[:2], ids=["cuda", "cpu"])
def test_training_and_predicting_say_what_needs_less(
    error: Exception, trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    world, finished = trained
    with monkeypatch.context() as patch:
        patch.setattr("atrous.train.loop.take_step", raising(error))
        assert run("train", make_world(tmp_path / "world"), "-o", tmp_path / "run", *SMALL) == 2
    told = [capsys.readouterr().err]
    monkeypatch.setattr("atrous.predict.predictor.Predictor._logits", raising(error))
    pictures = world / "test" / "images"
    assert run("predict", pictures, "--model", finished, "-o", tmp_path / "out", "--backend", "torch") == 2
    told += capsys.readouterr().err.splitlines()
    assert len(told) > 1
    for line in told:
        assert "the memory is used up (" in line
        for option in ("--batch", "--crop", "--window", "accumulate"):
            assert option in line


def raising(error: Exception) -> Callable[..., Any]:
    def function(*_: Any, **__: Any) -> None:
        raise error

    return function
