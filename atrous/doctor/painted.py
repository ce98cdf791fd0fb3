"""Masks of colours: the table from colours to classes; and grey masks that JPEG has smeared."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from atrous.doctor.colours import RADIUS, find_table, is_photo, known_label_set
from atrous.doctor.cures import Nearest, OneHot
from atrous.doctor.findings import Finding, counted
from atrous.doctor.reading import VOID, Reading, file_of_mask
from atrous.errors import DataError
from atrous.io import mask_palette
from atrous.labels import LabelSet

FAR = 24
"""Grey levels that must lie between two classes of a JPEG mask."""


def find_painted(reading: Reading) -> None:
    """Masks of colours: one-hot, photos in the place of masks, and those with a table."""
    painted = [k for k, look in enumerate(reading.looks) if look.mask and look.mask.colours and not look.mask.values]
    hot = [k for k, look in enumerate(reading.looks) if look.mask and look.mask.one_hot]
    if hot:
        channels = reading.looks[hot[0]].mask.shape[2]  # type: ignore[union-attr]
        reading.report(
            "colour_mask", "error", hot,
            f"one channel for each of {channels} classes (one-hot), where a single number per pixel is expected",
            "take the number of the channel that is set: --write OUT does", cure=OneHot(),
        )  # fmt: skip
    tabled = []
    for k in painted:
        colours = reading.looks[k].mask.colours  # type: ignore[union-attr]
        assert colours is not None
        if is_photo(colours) or not len(colours.colours):
            reading.counts[k] = None
            what = "a photo, it seems" if len(colours.colours) else "channels that are no colours"
            reading.report(
                "colour_mask", "error", [k], f"{what}: {colours.distinct:,} colours in the place of a mask",
                "put the mask there; images and masks may have changed places", count=colours.distinct,
            )  # fmt: skip
        else:
            tabled.append(k)
    if tabled:
        _by_table(reading, tabled)


def _by_table(reading: Reading, places: list[int]) -> None:
    colours = [reading.looks[k].mask.colours for k in places]  # type: ignore[union-attr]
    exact = all(one.exact for one in colours if one is not None) and not any(
        look.mask.lossy for k in places if (look := reading.looks[k]).mask
    )
    table = find_table((one for one in colours if one is not None), exact)
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
    smeared = "" if exact else f", smeared by lossy compression into {distinct:,}"
    seen = f"{len(table)} colours{smeared}"
    if cure is None:
        for k in places:
            reading.counts[k] = None
        lacking = ", ".join("-".join(map(str, colour)) for colour in table[:6])
        reading.report(
            "colour_mask", "error", places, f"a mask of {seen} ({lacking}{' ...' if len(table) > 6 else ''}), "
            "which the classes do not have",
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
    remedy = "write them as class indices: --write OUT does, with this table in its classes.toml"
    reading.findings.append(Finding("colour_mask", "error", files, detail, remedy, None, len(places), cure))


def _palette_labels(reading: Reading, places: Sequence[int]) -> LabelSet | None:
    """The palette of the index masks that a few colour masks lie among."""
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
    """The cure that leads to these classes: colours of the table that no class has are ignored where they are black,
    white or of the label set's own void, and else there is none."""
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


def find_smeared(reading: Reading) -> None:
    """Grey masks that are JPEG: levels far apart can be told again, neighbouring class indices cannot."""
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
            f"black and white, blurred by JPEG into {values} grey values",
            "halve the scale and save as PNG: --write OUT does", cure=Nearest(((0,), (255,)), (0, 255)),
        )  # fmt: skip
    elif far >= FAR and len(levels) <= 12:
        cure = Nearest(tuple(levels), tuple(level[0] for level in levels))
        reading.report(
            "value_out_of_range", "error", lossy, f"a JPEG whose {len(levels)} grey levels are blurred into {values}",
            "take the nearest level and save as PNG: --write OUT does", cure=cure,
        )  # fmt: skip
    else:
        for k in lossy:
            reading.counts[k] = None
        reading.report(
            "value_out_of_range", "error", lossy,
            f"a JPEG mask with {counted(values, 'grey value')}: compression has blurred its class indices",
            "save the mask as PNG from its source", count=values,
        )  # fmt: skip
