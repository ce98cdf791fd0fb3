"""Finds equal masks of different images: one file was copied over another."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from atrous.doctor.copies import ALIKE, LEAST_CONTRAST
from atrous.doctor.findings import Finding, counted
from atrous.doctor.reading import Reading, file_of_mask


def find_twins(reading: Reading) -> Iterator[Finding]:
    """Yield suspicious masks: equal, with two values or more, but of images that look different."""
    equal = defaultdict(list)
    ignored = set(reading.labels.ignore) if reading.labels else set()
    for place in reading.usable:
        mask, counts = reading.looks[place].mask, reading.counts[place] or {}
        if mask and mask.checksum and len(set(counts) - ignored) > 1:
            equal[mask.shape, tuple(sorted(counts.items())), mask.checksum].append(place)
    for places in equal.values():
        if len(places) > 1 and _differ(reading, places):
            files = tuple(file_of_mask(reading.looks[place]) for place in places)
            yield Finding(
                "suspicious",
                "warning",
                files,
                f"the same mask for {counted(len(places), 'image')} that differ",
                "find the right mask: one of them is probably a copy by mistake",
                count=len(places),
            )


def _differ(reading: Reading, places: list[int]) -> bool:
    """Tell whether two of the images look different; flat images do not count."""
    images = [image for place in places if (image := reading.looks[place].image) and image.cells is not None]
    if len(images) < 2:  # the others cannot be read
        return False
    thumbs = np.stack([image.cells[..., 0].ravel() for image in images]).astype(np.float32)  # type: ignore[index]
    return bool(thumbs.std(1).min() >= LEAST_CONTRAST) and float(np.corrcoef(thumbs).min()) < ALIKE
