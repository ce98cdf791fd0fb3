"""A picture of the architecture as SVG: a box for each stage, an arrow for each connection.

A coarser map lies lower down. A box is as high as its map's side and as wide as its channels, both
by logarithm. Boxes stand in the order in which the stages ran. A box's number leads to the list
below.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log2

from atrous.inspect.inspection import Inspection, StageRow
from atrous.inspect.text import amount, sides_text

COLOURS = ("#4878a8", "#d8873a", "#5f9e6e", "#8b6bb1", "#b55d60", "#4b9da3", "#857a5c")
"""The colours of a network's parts, in the order in which they run.

The part of a stage is its name up to the first dot, such as `encoder`.
"""

ROW, GAP, MARGIN = 104, 22, 40
"""Pixels between two levels, between two boxes, around the drawing."""

LIST = 17
"""Pixels per line of the list."""


@dataclass(frozen=True)
class StageBox:
    """A stage on the page: its centre, half its sides, its colour, its level from the top."""

    x: float
    y: float
    half_width: float
    half_height: float
    colour: str
    level: int


def architecture(found: Inspection, title: str) -> str:
    """The picture as the text of one SVG file, which loads nothing else."""
    boxes = _boxes(found)
    right = boxes[-1].x + boxes[-1].half_width + MARGIN
    lowest = max(box.y + box.half_height for box in boxes) + 34
    lines = _listing(found)
    width, height = max(right, MARGIN + 830), lowest + LIST * (len(lines) + 2) + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="Helvetica, Arial, sans-serif">',
        f"<title>{escape(title)}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#777"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
        f'<text x="{MARGIN}" y="28" font-size="17" font-weight="bold" fill="#222">{escape(title)}</text>',
        *_arrows(found, boxes),
    ]
    for number, box in enumerate(boxes):
        parts += _box(found, number, box)
    for k, (mark, cells, colour) in enumerate(lines):
        y = lowest + LIST * (k + 1)
        parts.append(f'<rect x="{MARGIN}" y="{y - 10:.0f}" width="10" height="10" fill="{colour}"/>' if colour else "")
        weight = "" if colour else ' font-weight="bold"'
        for x, text in zip((18, 46, 250, 500, 650, 740), (mark, *cells), strict=True):
            parts.append(f'<text x="{MARGIN + x}" y="{y:.0f}" font-size="12" fill="#333"{weight}>{escape(text)}</text>')
    return "\n".join([*(part for part in parts if part), "</svg>", ""])


def _boxes(found: Inspection) -> list[StageBox]:
    """The boxes of the image, the stages and the logits, in this order: box i is stage i - 1."""
    axes = len(found.size)
    maps = [(found.channels, found.size[-1], 1.0)]
    maps += [(row.shape[1] if len(row.shape) > 1 else 1, _side(row, axes), row.stride[-1]) for row in found.stages]
    maps += [(found.classes, found.size[-1], 1.0)]
    names = ["image", *(row.name for row in found.stages), "logits"]
    groups = list(dict.fromkeys(name.split(".")[0].split(" ")[0] for name in names[1:-1]))
    widest = max(side for _, side, _ in maps)
    boxes, x = [], float(MARGIN)
    for (channels, side, stride), name in zip(maps, names, strict=True):
        half = 5 + 2.6 * log2(max(channels, 1))
        tall = 8 + 30 * (log2(max(side, 1)) + 1) / (log2(widest) + 1)
        level = round(log2(max(stride, 1)))
        part = name.split(".")[0].split(" ")[0]
        colour = COLOURS[groups.index(part) % len(COLOURS)] if part in groups else "#9aa0a6"
        x += half
        boxes.append(StageBox(x, 92 + ROW * level, half, tall, colour, level))
        x += half + GAP
    used = sorted({box.level for box in boxes})  # an empty level takes no room
    return [
        StageBox(b.x, 92 + ROW * used.index(b.level), b.half_width, b.half_height, b.colour, used.index(b.level))
        for b in boxes
    ]


def _box(found: Inspection, number: int, box: StageBox) -> list[str]:
    stage = number - 1
    channels, label = found.channels, "image"
    if 0 <= stage < len(found.stages):
        row = found.stages[stage]
        channels, label = row.shape[1] if len(row.shape) > 1 else 1, str(stage + 1)
        tip = f"{row.name}: {row.kind}, {sides_text(row.shape[1:])}"
    else:
        channels = found.channels if stage < 0 else found.classes
        label = "image" if stage < 0 else "logits"
        tip = f"{label}: {sides_text((channels, *found.size))}"
    top = box.y - box.half_height
    return [
        f'<g><title>{escape(tip)}</title><rect x="{box.x - box.half_width:.1f}" y="{top:.1f}" '
        f'width="{2 * box.half_width:.1f}" height="{2 * box.half_height:.1f}" rx="3" fill="{box.colour}"/>',
        f'<text x="{box.x:.1f}" y="{top - 5:.1f}" font-size="10" fill="#555" text-anchor="middle">{channels}</text>',
        f'<text x="{box.x:.1f}" y="{box.y + box.half_height + 13:.1f}" font-size="11" fill="#222" '
        f'text-anchor="middle">{label}</text></g>',
    ]


def _arrows(found: Inspection, boxes: Sequence[StageBox]) -> list[str]:
    """Short arrows between neighbours; longer ones are straight if the way is free, else a bow."""
    arrows = []
    for source, target in found.edges:
        a, b = boxes[source + 1], boxes[target + 1]
        between = boxes[source + 2 : target + 1]
        style = 'stroke="#777" fill="none" marker-end="url(#tip)"'
        x0, x1 = a.x + a.half_width, b.x - b.half_width - 1
        if not between:
            path = f"M{x0:.1f},{a.y:.1f} C{x0 + GAP / 2:.1f},{a.y:.1f} {x1 - GAP / 2:.1f},{b.y:.1f} {x1:.1f},{b.y:.1f}"
            arrows.append(f'<path d="{path}" {style} stroke-width="1.4"/>')
            continue
        if a.level == b.level and all(box.level != a.level for box in between):
            path = f"M{x0:.1f},{a.y:.1f} L{x1:.1f},{b.y:.1f}"
        elif all(box.level > min(a.level, b.level) for box in between):
            bend = (x1 - x0) / 2
            path = f"M{x0:.1f},{a.y:.1f} C{x0 + bend:.1f},{a.y:.1f} {x1 - bend:.1f},{b.y:.1f} {x1:.1f},{b.y:.1f}"
        else:
            start, end = a.y - a.half_height - 16, b.y - b.half_height - 16
            over = min(box.y - box.half_height for box in (a, b, *between)) - 32 - min(26, (x1 - x0) / 14)
            path = f"M{a.x:.1f},{start:.1f} C{a.x:.1f},{over:.1f} {b.x:.1f},{over:.1f} {b.x:.1f},{end:.1f}"
        arrows.append(f'<path d="{path}" {style} stroke-width="1.2" stroke-dasharray="5 3" opacity="0.85"/>')
    return arrows


def _listing(found: Inspection) -> list[tuple[str, tuple[str, ...], str]]:
    """(number, (name, kind, output, parameters, field), colour) of each stage, after a heading."""
    rows: list[tuple[str, tuple[str, ...], str]] = [("", ("stage", "what", "output", "parameters", "field"), "")]
    for number, (row, box) in enumerate(zip(found.stages, _boxes(found)[1:-1], strict=True), start=1):
        reach = row.reach
        field = (
            "whole image"
            if reach.largest is None
            else ("> " if reach.at_least else "") + sides_text(reach.largest, True)
        )
        name = row.name if len(row.name) <= 32 else "..." + row.name[-29:]
        kind = row.kind if len(row.kind) <= 38 else row.kind[:36] + "..."
        rows.append((str(number), (name, kind, sides_text(row.shape[1:]), amount(row.parameters), field), box.colour))
    return rows


def _side(row: StageRow, axes: int) -> int:
    return row.shape[-1] if len(row.shape) == axes + 2 else 1
