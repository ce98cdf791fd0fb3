"""Prints an inspection in a terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console

from atrous.inspect.inspection import TRIED, FieldCheck, Inspection, Reach
from atrous.inspect.seams import Halo
from atrous.progress import say


def print_inspection(found: Inspection, title: str, console: Console) -> None:
    """Print the table of stages, then a line for each further result.

    Args:
        found: What `inspect_model` returned.
        title: The first line.
        console: Where it is printed.
    """
    heads = ("stage", "what", "output", "stride", "parameters", "mult-adds", "kept", "field", "measured")
    cells: list[tuple[str, ...]] = [
        (
            row.name,
            row.kind,
            sides_text(row.shape[1:]),
            sides_text((f"{step:g}" for step in row.stride), True),
            amount(row.parameters),
            amount(row.multiply_adds),
            amount(row.kept, "B"),
            field_text(row.reach),
            _measured_text(row.checked),
        )
        for row in found.stages
    ]
    own = [amount(found.between[key], unit) for key, unit in (("parameters", ""), ("multiply_adds", ""), ("kept", "B"))]
    whole = [amount(found.parameters), amount(found.multiply_adds), amount(found.kept, "B")]
    logits = sides_text((found.classes, *found.size))
    cells.append(("between stages", "", "", "", *own, "", ""))
    cells.append(("logits", "", logits, "1", *whole, field_text(found.reach), _measured_text(found.checked)))
    widths = [max(len(line[column]) for line in (heads, *cells)) for column in range(len(heads))]
    left = (0, 1, 2)
    lines = [title, ""]
    for line in (heads, *cells):
        parts = (
            text.ljust(wide) if k in left else text.rjust(wide)
            for k, (text, wide) in enumerate(zip(line, widths, strict=True))
        )
        lines.append("  ".join(parts).rstrip())
    for text in [*lines, "", *_sentences(found)]:
        say(text, console)


def _sentences(found: Inspection) -> list[str]:
    reach, unit = found.reach, "pixels" if len(found.size) == 2 else "voxels"
    if reach.largest is None:
        field = reach.why
    elif reach.at_least:
        field = f"larger than {sides_text(reach.largest)} {unit}"
    else:
        field = f"{sides_text(reach.largest)} {unit}"
        if reach.smallest != reach.largest:
            field += f" at most, {sides_text(reach.smallest or ())} at least, by its phase within the strides"
    lines = [f"receptive field  {field}"]
    checks = [row.checked for row in found.stages if row.checked] + ([found.checked] if found.checked else [])
    if checks:
        wrong = sum(not check.agrees for check in checks)
        lines.append(
            f"measured         {len(checks) - wrong} of {len(checks)} fields agree with theory, each at its widest "
            f"place in images of {sides_text(checks[-1].lengths, True)} {unit}, whose borders cut both"
        )
    lines += [
        f"output stride    {found.output_stride:g} at the coarsest map, {found.logits_stride:g} before the last resize",
        f"memory           predicting: at most {amount(found.peak, 'B')} of activations at once; training: "
        f"{amount(found.kept, 'B')} kept for the backward pass; weights: {amount(4 * found.parameters, 'B')} "
        f"(float32, batch 1, {sides_text(found.size)})",
        f"sizes            {_sizes(found)}",
        f"tile = whole     {_tiles(found, unit)}",
    ]
    return lines


def _sizes(found: Inspection) -> str:
    tried = ", ".join(map(str, TRIED))
    if not found.refused:
        return f"any from 1 pixel on (tried: sides of {tried})"
    side, reason = next(iter(found.refused.items()))
    return f"refuses sides of {', '.join(map(str, found.refused))} of {tried}: {reason} (side {side})"


def _tiles(found: Inspection, unit: str) -> str:
    halo = found.halo
    if not isinstance(halo, Halo):
        where = f", in {halo.layer}" if halo.layer else ""
        return f"cannot hold: {halo.reason}{where}"
    multiple = ""
    if set(halo.multiple) != {1}:
        multiple = f"; the image's sides must be multiples of {sides_text(halo.multiple, True)}"
    return (
        f"holds with a halo of {sides_text(halo.before, True)} {unit} before and {sides_text(halo.after, True)} after, "
        f"if tiles start at multiples of {sides_text(halo.align, True)}{multiple}"
    )


def field_text(reach: Reach) -> str:
    """A field in a table's cell: '404', '5x551', '> 4096', 'whole', 'grows', 'undefined' or '-'."""
    if reach.largest is None:
        words = {"not defined": "undefined", "does not depend": "-", "whole": "whole"}
        return next((word for part, word in words.items() if part in reach.why), "grows")
    return ("> " if reach.at_least else "") + sides_text(reach.largest, True)


def _measured_text(checked: FieldCheck | None) -> str:
    if checked is None:
        return "-"
    sides = [last - first + 1 for first, last in checked.measured]
    cut = any(side == length for side, length in zip(sides, checked.lengths, strict=True))
    return sides_text(sides, True) + (" (all)" * cut if checked.agrees else " !")


def sides_text(sides: Iterable[object], brief: bool = False) -> str:
    """'64 x 128 x 128'. brief: '7' if all sides are 7, else '1x3x3'."""
    parts = [str(side) for side in sides]
    if brief:
        return parts[0] if len(set(parts)) == 1 else "x".join(parts)
    return " x ".join(parts)


def amount(count: int, unit: str = "") -> str:
    """A number with three figures and a power of a thousand: '134 M', '1.64 GB', '0'."""
    value, powers = float(count), ["", "k", "M", "G", "T", "P"]
    while value >= 999.5 and len(powers) > 1:
        value, powers = value / 1000, powers[1:]
    figures = f"{value:.3g}" if value < 999.5 else f"{value:.0f}"
    return f"{figures} {powers[0]}{unit}".strip()


__all__: Sequence[str] = ("amount", "field_text", "print_inspection", "sides_text")
