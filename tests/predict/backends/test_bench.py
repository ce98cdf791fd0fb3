import json
from importlib import import_module
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from brightness import predictor
from torch.utils.flop_counter import FlopCounterMode

from atrous import cli
from atrous.bundle import Card, save_bundle
from atrous.models import create_model
from atrous.predict.backends import open_backend
from atrous.predict.backends.bench import bench


def test_rows_add_up(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = create_model("unet2015", classes=2, width=2).eval()
    card = Card("unet2015", {"width": 2}, predictor().card.labels, (127.5,) * 3, (64.0,) * 3)
    peak, (row,) = bench(model, card, [(64, 96)], ["torch"], rounds=2)
    assert peak > 0
    assert (row.backend, row.size, row.note) == ("torch", (64, 96), "")
    assert row.gflops is not None
    assert row.ms is not None
    assert row.share == pytest.approx(row.gflops / peak)
    assert row.agreement is not None
    assert row.agreement > 0.99
    _, (twice,) = bench(model, card, [(640, 96)], ["torch"], rounds=1)
    assert twice.gflops is not None
    assert twice.ms is not None
    assert twice.gflops * twice.ms > 3 * row.gflops * row.ms  # work grows with the image

    save_bundle(tmp_path / "net.safetensors", model, card)
    arguments = ["bench", str(tmp_path / "net.safetensors"), "--size", "48x64", "--backend", "torch", "--rounds", "1"]
    cli.app([*arguments, "--json"], standalone_mode=False)
    told = json.loads(capfd.readouterr().out)
    assert [(one["backend"], one["size"]) for one in told["rows"]] == [("torch", [48, 64])]
    cli.app(arguments, standalone_mode=False)
    assert "GFLOP/s" in capfd.readouterr().out


def test_a_backend_that_is_not_there_is_a_row_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openvino", None)
    model = create_model("unet2015", classes=2, width=1).eval()
    card = Card("unet2015", {"width": 1}, predictor().card.labels, (127.5,) * 3, (64.0,) * 3)
    _, rows = bench(model, card, [(32, 32)], ["openvino"], rounds=1)
    assert [row.ms for row in rows] == [None]
    assert "pip install 'atrous[openvino]'" in rows[0].note


def test_a_backend_that_fails_without_a_word_is_a_row_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(pixels: np.ndarray) -> None:
        raise RuntimeError

    def opening(name: str, *arguments: Any, **options: Any) -> Any:
        return fail if name == "onnx" else open_backend(name, *arguments, **options)

    monkeypatch.setattr("atrous.predict.backends.bench.open_backend", opening)
    model = create_model("unet2015", classes=2, width=1).eval()
    card = Card("unet2015", {"width": 1}, predictor().card.labels, (127.5,) * 3, (64.0,) * 3)
    _, rows = bench(model, card, [(32, 32)], ["onnx", "torch"], rounds=1)
    assert {row.backend: row.note for row in rows} == {"onnx": "RuntimeError", "torch": ""}


def test_the_peak_is_the_work_of_a_try_over_the_time_of_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is ours: three tries of 4, 2 and 3 ms, then the time is over."""
    tries = [(0.0, 0.0, 0.004), (0.004, 0.005, 0.007), (0.007, 0.008, 0.011)]  # asked whether to go on, start, end
    clock = iter([0.0, *chain(*tries), 1.0])
    module = import_module("atrous.predict.backends.bench")
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    with FlopCounterMode(display=False) as counter:
        rate = module.peak_rate(0.05)
    assert rate == pytest.approx(counter.get_total_flops() / len(tries) / 0.002 / 1e9)
    assert next(clock, None) is None
