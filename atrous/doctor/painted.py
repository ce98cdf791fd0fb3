"""Masks with colours instead of values, and grey masks that JPEG has changed."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from atrous.datasets.levels import find_smeared as find_levels
from atrous.doctor.colours import RADIUS, find_table, is_photo, known_label_set
from atrous.doctor.cures import Nearest, OneHot
from atrous.doctor.findings import Finding, counted
from atrous.doctor.reading import VOID, Reading, file_of_mask
from atrous.errors import DataError
from atrous.io import mask_palette
from atrous.labels import LabelSet

FAR = 24
"""The classes of a grey JPEG mask can be told if they are at least this many grey levels apart."""


def find_painted(reading: Reading) -> None:
    """Find masks of colours: one-hot masks, photos in place of masks, and masks with a table."""
    painted = [k for k, look in enumerate(reading.looks) if look.mask and look.mask.colours and not look.mask.values]
    hot = [k for k, look in enumerate(reading.looks) if look.mask and look.mask.one_hot]
    if hot:
        channels = reading.looks[hot[0]].mask.shape[2]  # type: ignore[union-attr]
        reading.report(
            "colour_mask", "error", hot,
            f"one channel for each of {channels} classes (one-hot), but one number per pixel is expected",
            "write the number of the channel that is set: --write OUT does it", cure=OneHot(),
        )  # fmt: skip
    tabled = []
    for k in painted:
        colours = reading.looks[k].mask.colours  # type: ignore[union-attr]
        assert colours is not None
        if is_photo(colours) or not len(colours.colours):
            reading.counts[k] = None
            what = "probably a photo" if len(colours.colours) else "channels that are not colours"
            reading.report(
                "colour_mask", "error", [k], f"{what}: {colours.distinct:,} colours, but a mask is expected",
                "put the mask there; images and masks may be swapped", count=colours.distinct,
            )  # fmt: skip
        else:
            tabled.append(k)
    if tabled:
        _by_table(reading, tabled)


def _by_table(reading: Reading, places: list[int]) -> None:
    """Find the table from colours to classes for these masks, and report them."""
    colours = [reading.looks[k].mask.colours for k in places]  # type: ignore[union-attr]
    exact = all(one.exact for one in colours if one is not None) and not any(
        look.mask.lossy for k in places if (look := reading.looks[k]).mask
    )
    edges = find_levels([reading.looks[k].mask.tally for k in places]) if exact else None  # type: ignore[union-attr]
    exact = exact and edges is None
    table = find_table((one for one in colours if one is not None), exact or edges is not None)
    if edges:  # the colours of the masks that are sound, and those that fill areas in the others
        sound = [one for k, one in enumerate(colours) if one is not None and k not in edges.places]
        table = list(dict.fromkeys([*edges.levels, *(find_table(sound, True) if sound else ())]))
    alone = len(places) * 2 > len(reading.usable)
    labels, known = reading.labels, None
    if labels is None and alone and (known := known_label_set(table, exact)):
        labels = replace(known[1], values=tuple(range(len(known[1]))), ignore=(VOID,))
    elif labels is None and not alone:
        labels = _palette_labels(reading, places)
    if labels is not None:
        cure = _towards(labels, table, exact)
    elif alone and len(table[0]) == 3:
        ordered = sorted((c[0], c[1], c[2]) for c in table)
        labels = LabelSet(tuple(f"class {k}" for k in range(len(ordered))), tuple(ordered))
        cure = Nearest(tuple(ordered), tuple(range(len(ordered))))
    else:
        cure = None
    distinct = max(one.distinct for one in colours if one is not None)
    smeared = "" if exact else f", which smooth scaling or lossy compression has turned into {distinct:,}"
    seen = f"{len(table)} colours{smeared}"
    if cure is None:
        for k in places:
            reading.counts[k] = None
        lacking = ", ".join("-".join(map(str, colour)) for colour in table[:6])
        reading.report(
            "colour_mask", "error", places, f"a mask of {seen} ({lacking}{' ...' if len(table) > 6 else ''}), "
            "which are not the colours of the classes",
            "give each class its color in a classes.toml, or save the masks as palette PNG",
        )  # fmt: skip
        return
    reading.table = list(zip(cure.colours, cure.becomes, strict=True))
    if alone:
        reading.labels = labels
    names = dict(zip(labels.values, labels.names, strict=True)) if labels else {}
    shown = ", ".join(
        f"{'-'.join(map(str, colour))} is {names.get(value, 'ignored')}" for colour, value in reading.table[:6]
    )
    for k, one in zip(places, colours, strict=True):
        assert one is not None
        found = dict[int, int]()
        for value, pixels in zip(cure.look_up(one.colours).tolist(), one.pixels.tolist(), strict=True):
            found[value] = found.get(value, 0) + pixels
        reading.counts[k] = found
        reading.cures[k].append(cure)
    like = f" of {known[0]}" if known else ""
    files = tuple(file_of_mask(reading.looks[k]) for k in places)
    detail = f"a mask of {seen}{like}: {shown}{' ...' if len(table) > 6 else ''}"
    remedy = "write class indices: --write OUT does it, with this table in its classes.toml"
    reading.findings.append(Finding("colour_mask", "error", files, detail, remedy, None, len(places), cure))


def _palette_labels(reading: Reading, places: Sequence[int]) -> LabelSet | None:
    """Take the palette of the index masks, if only a few masks have colours."""
    others = [k for k in reading.usable if k not in set(places) and reading.looks[k].mask.values]  # type: ignore[union-attr]
    for k in others[:3]:
        try:
            palette = mask_palette(reading.looks[k].pair.mask)
        except DataError:
            continue
        top = max((value for value in reading.with_value() if value < VOID), default=0)
        if palette and len(set(palette[: top + 1])) == min(top + 1, len(palette)):
            return LabelSet(tuple(map(str, range(top + 1))), tuple(palette[: top + 1]))
    return None


def _towards(labels: LabelSet, table: Sequence[tuple[int, ...]], exact: bool) -> Nearest | None:
    """Make the cure that leads from the colours of a table to these classes.

    A colour that no class has is ignored if it is black or white; any other such colour means that
    there is no cure: None.
    """
    near = 0 if exact else RADIUS
    void = labels.ignore[0] if labels.ignore else VOID
    colours, becomes = list[tuple[int, ...]](), list[int]()
    for colour in table:
        distances = [max(abs(a - b) for a, b in zip(colour, own, strict=False)) for own in labels.colours]
        best = min(range(len(labels)), key=distances.__getitem__)
        if distances[best] <= near:
            colours.append(labels.colours[best])
            becomes.append(labels.values[best])
        elif min(colour) >= 224 - near or max(colour) <= near:
            colours.append(colour)
            becomes.append(void)
        else:
            return None
    return Nearest(tuple(dict.fromkeys(colours)), tuple(becomes)) if len(set(colours)) == len(colours) else None


def find_compressed(reading: Reading) -> None:
    """Find grey masks from JPEG: levels that are far apart can be told, class indices cannot."""
    lossy = [
        k for k, look in enumerate(reading.looks)
        if look.mask and look.mask.lossy and look.mask.values and look.mask.colours and reading.counts[k] is not None
    ]  # fmt: skip
    if not lossy:
        return
    masks = [reading.looks[k].mask.colours for k in lossy]  # type: ignore[union-attr]
    levels = sorted(find_table((one for one in masks if one is not None), exact=False))
    far = min((high[0] - low[0] for low, high in pairwise(levels)), default=0)
    values = max(len(reading.counts[k] or ()) for k in lossy)
    if len(levels) == 2 and levels[0][0] <= 24 and levels[1][0] >= 231:
        reading.report(
            "binary_0_255", "error", lossy,
            f"black and white, which JPEG has turned into {values} grey values",
            "take the nearer of the two and save as PNG: --write OUT does it", cure=Nearest(((0,), (255,)), (0, 255)),
        )  # fmt: skip
    elif far >= FAR and len(levels) <= 12:
        cure = Nearest(tuple(levels), tuple(level[0] for level in levels))
        reading.report(
            "value_out_of_range", "error", lossy,
            f"{len(levels)} grey levels, which JPEG has turned into {values}",
            "take the nearest level and save as PNG: --write OUT does it", cure=cure,
        )  # fmt: skip
    else:
        for k in lossy:
            reading.counts[k] = None
        reading.report(
            "value_out_of_range", "error", lossy,
            f"a JPEG mask with {counted(values, 'grey value')}: compression has changed its class indices",
            "save the mask as PNG again, from the tool that made it", count=values,
        )  # fmt: skip
