"""The receptive field over a picture: the box in theory, and how much each pixel counts.

The picture is drawn here, a street under hills, so that no photo is needed.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import nn

from atrous.inspect.inspection import LONGEST, Inspection
from atrous.inspect.measured import OUTPUT, Interval, Measured, extent
from atrous.inspect.seams import image_axes
from atrous.inspect.text import sides_text
from atrous.inspect.walk import walk

LINE, TEXT = 26, 17
"""Height of the legend's lines and of its letters, in pixels."""

WHITE, ORANGE, CYAN = (255, 255, 255), (255, 150, 40), (80, 220, 255)


def receptive_field(model: nn.Module, found: Inspection) -> np.ndarray:
    """(H, W, 3) uint8: the field of the pixel in the middle of the logits, with a legend below.

    The image has the size of the inspection, but at most 512 pixels a side (volumes 96), since the
    network runs in float64. Of a volume, the middle slice is shown. The frames are the box in
    theory, the box of all pixels that count at all, and the box that holds half of the gradient.
    """
    axes = image_axes(model)
    sides = [min(side, LONGEST if axes == 2 else 96) for side in found.size]
    shape = (1, int(model.in_channels), *sides)  # type: ignore[arg-type]
    theory, place = walk(model, shape).output, [side // 2 for side in sides]
    heat = Measured(model, shape, scale=1).heat(OUTPUT, theory.places(), place)
    box, seen = [theory.interval(place, axis) for axis in range(axes)], extent(heat)
    half = box_holding(heat, place, 0.5)
    picture = _heated(scene(*sides[-2:]), heat[place[0]] if axes == 3 else heat)
    scale = max(1, round(640 / max(sides[-2:])))
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    for frame, colour, thickness in ((box, WHITE, 3), (seen, ORANGE, 1), (half, CYAN, 1)):
        _frame(picture, frame[-2:], colour, thickness, scale)
    centre = tuple(int((at + 0.5) * scale) for at in reversed(place[-2:]))
    cv2.drawMarker(picture, centre, WHITE, cv2.MARKER_CROSS, 11, 1)
    return _legend(picture, _lines(found, sides, box, seen, half))


def box_holding(heat: torch.Tensor, place: Sequence[int], share: float) -> tuple[Interval, ...]:
    """The smallest box about a place, grown evenly, cut by the image, with a share of the heat."""
    total, low, high = float(heat.sum()), 0, max(heat.shape)
    while low < high:
        reach = (low + high) // 2
        box = tuple(slice(max(0, at - reach), at + reach + 1) for at in place)
        low, high = (low, reach) if float(heat[box].sum()) >= share * total else (reach + 1, high)
    return tuple((max(0, at - low), min(side - 1, at + low)) for at, side in zip(place, heat.shape, strict=True))


def scene(height: int, width: int) -> np.ndarray:
    """A generated street (height, width, 3) uint8: sky, hills, houses, trees, a road with a car."""
    h, w = 600, max(1, round(600 * width / height))
    rng = np.random.default_rng(3)
    picture = np.empty((h, w, 3), np.uint8)
    picture[:] = (np.linspace([120, 170, 225], [225, 232, 240], h)).astype(np.uint8)[:, None]
    x = np.arange(-20, w + 20)
    for base, swing, colour in ((250, 60, (150, 165, 185)), (300, 45, (120, 145, 130)), (345, 25, (100, 130, 90))):
        phase = rng.uniform(0, 6, 3)
        ridge = base - swing * sum(np.sin(x / w * f * 6 + p) / f for f, p in zip((1, 2.3, 5), phase, strict=True))
        _fill(picture, [*zip(x.tolist(), ridge.tolist(), strict=True), (w + 20, h), (-20, h)], colour)
    _fill(picture, [(0, 380), (w, 380), (w, h), (0, h)], (125, 140, 95))
    _fill(picture, [(0.46 * w, 372), (0.54 * w, 372), (1.1 * w, h), (-0.1 * w, h)], (92, 94, 100))
    for k in range(6):
        top, bottom = 372 + 228 * (k / 6) ** 1.8, 372 + 228 * ((k + 0.5) / 6) ** 1.8
        a, b = 0.003 * w * (top - 360) / 40, 0.003 * w * (bottom - 360) / 40
        _fill(picture, [(w / 2 - a, top), (w / 2 + a, top), (w / 2 + b, bottom), (w / 2 - b, bottom)], (230, 230, 225))
    for left, wide, tall, colour in (
        (0.02, 0.15, 190, (190, 120, 95)), (0.19, 0.1, 130, (205, 185, 150)), (0.72, 0.1, 140, (150, 110, 105)),
        (0.84, 0.14, 210, (185, 175, 165)),
    ):  # fmt: skip
        x0, x1, ground = left * w, (left + wide) * w, 415
        _fill(picture, [(x0, ground), (x0, ground - tall), (x1, ground - tall), (x1, ground)], colour)
        _fill(
            picture,
            [(x0 - 6, ground - tall), ((x0 + x1) / 2, ground - tall - 45), (x1 + 6, ground - tall)],
            (110, 70, 65),
        )
        for u in np.linspace(x0, x1, 5)[1:-1]:
            for v in range(int(ground - tall + 20), ground - 30, 42):
                _fill(picture, [(u - 7, v), (u + 7, v), (u + 7, v + 20), (u - 7, v + 20)], (70, 85, 105))
    for at, size in ((0.33, 52), (0.40, 30), (0.64, 40), (0.69, 60)):
        foot = 400 + size // 2
        cv2.line(picture, (int(at * w), foot), (int(at * w), foot - size), (90, 70, 50), max(3, size // 7), cv2.LINE_AA)
        for _ in range(14):
            dx, dy = rng.normal(0, size / 2.6, 2)
            spot = (int(at * w + dx), int(foot - 1.6 * size + dy))
            cv2.circle(
                picture,
                spot,
                int(size / 2.6),
                (int(rng.integers(40, 75)), int(rng.integers(95, 130)), 55),
                -1,
                cv2.LINE_AA,
            )
    cx, cy = 0.44 * w, 505
    _fill(picture, [(cx - 75, cy), (cx - 70, cy - 38), (cx + 70, cy - 38), (cx + 75, cy)], (165, 45, 45))
    _fill(picture, [(cx - 50, cy - 38), (cx - 36, cy - 72), (cx + 36, cy - 72), (cx + 50, cy - 38)], (60, 75, 95))
    for side in (-48, 48):
        cv2.circle(picture, (int(cx + side), cy), 16, (35, 35, 38), -1, cv2.LINE_AA)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _fill(picture: np.ndarray, points: Sequence[tuple[float, float]], colour: tuple[int, int, int]) -> None:
    cv2.fillPoly(picture, [np.round(points).astype(np.int32)], colour, cv2.LINE_AA)


def _heated(picture: np.ndarray, heat: torch.Tensor) -> np.ndarray:
    """Dim greys where nothing counts, else inferno's colours by the logarithm, over six decades."""
    share = heat.numpy() / max(float(heat.max()), 1e-300)
    level = np.clip(1 + np.log10(np.maximum(share, 1e-300)) / 6, 0, 1)
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    dim = (0.65 * grey + 0.15 * picture).astype(np.float32)
    colours = cv2.cvtColor(cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    weight = (0.25 + 0.6 * level)[..., None] * (share > 0)[..., None]
    return ((1 - weight) * dim + weight * colours).astype(np.uint8)


def _frame(
    picture: np.ndarray, box: Sequence[Interval], colour: tuple[int, int, int], thickness: int, scale: int
) -> None:
    (top, bottom), (left, right) = box
    if top <= bottom and left <= right:
        first, last = (left * scale, top * scale), ((right + 1) * scale - 1, (bottom + 1) * scale - 1)
        cv2.rectangle(picture, first, last, colour, thickness)


def _lines(
    found: Inspection, sides: Sequence[int], box: Sequence[Interval], seen: Sequence[Interval], half: Sequence[Interval]
) -> list[tuple[str, tuple[int, int, int]]]:
    """The lines of the legend, each with the colour of its frame."""

    def size(frame: Sequence[Interval]) -> str:
        return sides_text(last - first + 1 for first, last in frame)

    reach, theory = found.reach, size(box)
    if reach.largest and not reach.at_least:
        theory = f"{sides_text(reach.largest)} at most, here {theory}"
    return [
        (f"theory: {theory} pixels" if reach.largest else f"theory: {theory} pixels; {reach.why}", WHITE),
        (f"measured: {size(seen)} pixels of {sides_text(sides)}; colours by the logarithm", ORANGE),
        (f"half of the gradient lies within {size(half)}", CYAN),
    ]


def _legend(picture: np.ndarray, lines: Sequence[tuple[str, tuple[int, int, int]]]) -> np.ndarray:
    font, room = cv2.FontFace("sans"), picture.shape[1] - 52
    rows: list[tuple[str, tuple[int, int, int] | None]] = []
    for text, colour in lines:
        for number, part in enumerate(_wrapped(text, room, font)):
            rows.append((part, None if number else colour))
    below = np.full((LINE * len(rows) + 14, picture.shape[1], 3), 34, np.uint8)
    for k, (text, frame) in enumerate(rows):
        y = 10 + LINE * k
        if frame:
            cv2.rectangle(below, (14, y + 4), (30, y + 18), frame, 2)
        cv2.putText(below, text, (42, y + 17), (235, 235, 235), font, TEXT, 420)
    return np.concatenate([picture, below])


def _wrapped(text: str, room: int, font: cv2.FontFace) -> list[str]:
    rows = [""]
    for word in text.split():
        longer = f"{rows[-1]} {word}".strip()
        if rows[-1] and cv2.getTextSize((0, 0), longer, (0, 0), font, TEXT, 420)[2] > room:
            rows.append(word)
        else:
            rows[-1] = longer
    return rows
