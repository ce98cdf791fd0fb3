"""How fast a network runs on this machine: backends by image sizes, beside the machine's peak.

All backends are timed in turn, in one process; medians count. The peak is measured too, by a 3x3
convolution of 128 channels, which keeps the processor's multipliers as busy as a convolution can.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atrous.bundle import Card
from atrous.inspect import inspect_model
from atrous.ops.timing import interleaved
from atrous.predict.backends import open_backend
from atrous.predict.backends.choice import agreement, as_pixels, candidates, reason_of
from atrous.predict.backends.graph import sample

ROUNDS = 7


@dataclass(frozen=True)
class Row:
    """One backend at one size.

    Attributes:
        backend: its name.
        size: (height, width) of the image.
        ms: median milliseconds of the network, without the last resize of the logits.
        gflops: 10^9 multiplications and additions per second.
        share: of the machine's peak, 0 to 1.
        memory: most bytes during a call above those before it; None if the system does not say.
        agreement: share of labels that equal those of torch in float32, 0 to 1.
        sure: the same over the pixels where float32's best logit exceeds the second by 0.1.
        note: why there are no numbers.
    """

    backend: str
    size: tuple[int, ...]
    ms: float | None = None
    gflops: float | None = None
    share: float | None = None
    memory: int | None = None
    agreement: float | None = None
    sure: float | None = None
    note: str = ""

    def summary(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def bench(
    model: nn.Module,
    card: Card,
    sizes: Sequence[tuple[int, ...]] = ((512, 512),),
    backends: Sequence[str] | None = None,
    rounds: int = ROUNDS,
) -> tuple[float, list[Row]]:
    """Time a network with each backend at each size.

    Args:
        model: the network, in eval mode.
        card: its card.
        sizes: (height, width) of images.
        backends: names of `choice.candidates`; default all.
        rounds: timed calls of each backend.

    Returns:
        This machine's peak in GFLOP/s, float32, and a row for each size and backend. A backend that
        cannot be opened or fails has a row with a note.
    """
    ways = candidates()
    names = list(backends) if backends else list(ways)
    opened, failed = {}, {}
    for name in names:
        try:
            opened[name] = open_backend(name.split()[0], model, card, **ways.get(name, {}))
        except Exception as error:  # missing extras, models that cannot be exported, runtimes
            failed[name] = reason_of(error)
    peak, rows = peak_rate(), []
    plain = open_backend("torch", model, card, fold=False)
    for size in sizes:
        pixels = as_pixels(sample(card, size))
        reference = plain(pixels)
        work = 2 * inspect_model(model, size, measure=False).multiply_adds / 1e9
        found, memory = {}, {}
        for name, backend in opened.items():
            try:
                before = _resident()
                found[name] = agreement(reference, backend(pixels))
                memory[name] = None if before is None else max(0, (_resident("VmHWM") or 0) - before)
            except Exception as error:  # each runtime has errors of its own
                rows.append(Row(name, size, note=reason_of(error)))
        seconds = interleaved({name: partial(opened[name], pixels) for name in found}, rounds)
        for name, median in seconds.items():
            rate, same = work / median, found[name]
            rows.append(Row(name, size, 1e3 * median, rate, rate / peak, memory[name], same.all, same.sure))
        rows += [Row(name, size, note=reason) for name, reason in failed.items()]
    return peak, rows


@torch.inference_mode()
def peak_rate(seconds: float = 1.0) -> float:
    """GFLOP/s of a 3x3 convolution of 128 channels on 128 x 128 cells in float32, at best."""
    conv = nn.Conv2d(128, 128, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(1, 128, 128, 128).to(memory_format=torch.channels_last)
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds or best == float("inf"):
        start = time.perf_counter()
        conv(x)
        best = min(best, time.perf_counter() - start)
    return 2 * 128 * 128 * 9 * 128 * 128 / best / 1e9


def _resident(which: str = "VmRSS") -> int | None:
    """Bytes of memory that this process holds, as Linux tells; None on other systems.

    VmRSS: now; asking for it resets the peak. VmHWM: the peak since then.
    """
    try:
        if which == "VmRSS":
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(which)), None)
