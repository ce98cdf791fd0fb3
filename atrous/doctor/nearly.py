"""Masks that are nearly masks: the label is in the alpha channel, soft, or smeared along its edges."""

from atrous.datasets.levels import Tally, find_smeared
from atrous.doctor.cures import Half, Nearest, Unhide, exchange
from atrous.doctor.reading import Reading
from atrous.io.masks import has_alpha


def find_nearly(reading: Reading) -> None:
    """Find masks that say what they mean in another form, and cure those that can be read in one way."""
    _hidden(reading)
    _soft(reading)
    _smeared(reading)


def _hidden(reading: Reading) -> None:
    """Report labels in the alpha channel. A mask that is opaque everywhere is one of them if others are."""
    hidden = [k for k, look in enumerate(reading.looks) if look.mask and look.mask.hidden]
    if not hidden:
        return
    reading.report(
        "colour_mask", "error", hidden, "one colour everywhere, the label is in the alpha channel",
        "save the alpha channel as the mask: --write OUT does it", cure=Unhide(),
    )  # fmt: skip
    for k in reading.usable:
        values = list(reading.counts[k] or ())
        if k in hidden or len(values) > 1 or values == [255] or not has_alpha(reading.looks[k].pair.mask):
            continue
        reading.report(
            "colour_mask", "error", [k], "opaque everywhere, while other labels are in the alpha channel",
            "save the alpha channel as the mask: --write OUT does it", cure=exchange(dict.fromkeys(values, 255)),
        )  # fmt: skip


def _soft(reading: Reading) -> None:
    """Report masks of shares 0..1."""
    soft = [k for k, look in enumerate(reading.looks) if look.mask and look.mask.fractions == "soft"]
    if soft:
        reading.report(
            "value_out_of_range", "error", soft, "fractions between 0 and 1: a soft mask, not class indices",
            "cut it at 0.5: --write OUT does it", cure=Half(),
        )  # fmt: skip


def _smeared(reading: Reading) -> None:
    """Report masks whose edges hold values between the levels, and those of fractions."""
    found = find_smeared([_tally(reading, k) for k in range(len(reading.looks))])
    known = {*reading.labels.values, *reading.labels.ignore} if reading.labels else set()
    if found and {value for k in found.places for value in reading.counts[k] or ()} - known:
        cure, remedy = None, "scale them again, by nearest neighbour"
        if found.far_apart:
            cure = Nearest(tuple(found.levels), tuple(level[0] for level in found.levels))
            remedy = "take the nearest of these values: --write OUT does it"
        reading.report("value_out_of_range", "error", found.places, str(found), remedy, cure=cure)
        for k in found.places if cure is None else ():
            reading.counts[k] = None
    rest = [
        k for k in reading.usable
        if (mask := reading.looks[k].mask) and mask.fractions == "levels" and not reading.cures[k]
    ]  # fmt: skip
    if rest:
        reading.report(
            "value_out_of_range", "error", rest, "fractions between the numbers of the classes",
            "write whole numbers; if the masks were scaled, scale them again, by nearest neighbour",
        )  # fmt: skip
        for k in rest:
            reading.counts[k] = None


def _tally(reading: Reading, place: int) -> Tally | None:
    """Return what the values of a mask do; None for colours, and for a JPEG, whose levels are found elsewhere."""
    mask = reading.looks[place].mask
    return mask.tally if mask and mask.values and not mask.lossy and reading.counts[place] is not None else None
