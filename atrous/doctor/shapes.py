"""Finds files that are missing, unreadable, or differ in size, orientation, channels or type."""

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from atrous.datasets.folder import Folder
from atrous.datasets.geotiff import REPLACE
from atrous.doctor.cures import Grey, Orient, Resize
from atrous.doctor.findings import Finding, counted
from atrous.doctor.look import PairLook
from atrous.doctor.reading import Reading, file_of_mask

CLEARLY = 0.3
"""A mask counts as turned if its edges fit better by this much when turned (`doctor.fit`)."""
SCALED = 1.1
"""A mask counts as scaled, not cut, if its size differs from the image's by this factor or more."""


def find_missing(folder: Folder) -> Iterator[Finding]:
    """Yield missing_mask, missing_image, near_duplicate by name, and the faults and clashes of the layout."""
    for own, paths, lacking, others in (
        ("image", folder.lone_images, "mask", folder.lone_masks),
        ("mask", folder.lone_masks, "image", folder.lone_images),
    ):
        stems = {path.stem: path for path in others}
        for path in paths:
            near = _near(path.stem, list(stems))
            mask, image = (near, path.stem) if own == "image" else (path.stem, near)
            if near == path.stem:  # equal names, in folders that do not correspond
                there = stems[near].relative_to(folder.root) if stems[near].is_relative_to(folder.root) else stems[near]
                detail = f"there is no {lacking} of this name in the same folder; {there} has no {own}"
                yield Finding(f"missing_{lacking}", "error", (path,), detail, "move the mask to the image's folder")
                continue
            yield Finding(
                f"missing_{lacking}",
                "error",
                (path,),
                f"there is no {lacking} of this name" + (f"; {near!r} has no {own}" if near else ""),
                f"rename the mask {mask!r} to {image!r}" if near else f"add its {lacking}, or move the {own} away",
            )
    for first, second in folder.doubles:
        yield Finding(
            "near_duplicate",
            "error",
            (second, first),
            f"claims the same place as {first.name}",
            "keep one of the two files",
            count=2,
        )
    faults = [("unreadable" if path.exists() else "missing_image", path, sentence) for path, sentence in folder.faults]
    faults += [("contradiction", path, sentence) for path, sentence in folder.clashes]
    for kind, path, sentence in faults:
        detail, _, remedy = sentence.rpartition("; ")
        yield Finding(kind, "error", (path,), detail or sentence, remedy or "correct the data set")


def find_unreadable(looks: Sequence[PairLook]) -> Iterator[Finding]:
    """Yield unreadable files, and whole masks that their layout cannot read."""
    for look in looks:
        image, mask = (
            (look.image_fault, "unreadable", look.pair.image),
            (look.mask_fault, look.mask_kind, file_of_mask(look)),
        )
        for fault, kind, path in image, mask:
            if fault:
                detail, _, remedy = fault.rpartition("; ")
                remedy = remedy.removeprefix("expected a whole file, ") if detail else "remove the pair"
                yield Finding(kind, "error", (path,), detail or fault, remedy)


def find_empty_pixels(looks: Sequence[PairLook]) -> Iterator[Finding]:
    """Yield no_value if some images have pixels that hold nothing."""
    empty = [look for look in looks if look.image and look.image.empty]
    if empty:
        share = sum(look.image.empty for look in empty if look.image) / len(empty)
        yield Finding(
            "no_value", "note", tuple(look.pair.image for look in empty),
            f"{share:.2%} of the pixels of {counted(len(empty), 'image')} hold nothing (NaN, infinite, nodata, masked) "
            "and count in no statistics, no loss and no score",
            "nothing to do, unless these pixels should hold values", count=len(empty),
        )  # fmt: skip


def find_sizes(reading: Reading) -> list[Finding]:
    """Find size_mismatch between image and mask, which may have a cure, and among images."""
    findings = [finding for place in range(len(reading.looks)) if (finding := _size(reading, place))]
    return [*findings, *_odd_images(reading)]


def _size(reading: Reading, place: int) -> Finding | None:
    """Compare the sizes of a pair; None if they are equal and nothing is turned."""
    look = reading.looks[place]
    if look.image is None or look.mask is None:
        return None
    depth = 2 if len(look.image.shape) == 3 else 3
    image, mask, turn = look.image.shape[:depth], look.mask.shape[:depth], look.image.orientation
    sizes = f"the mask is {_by(mask)} (H x W), its image {look.pair.image.name} {_by(image)}"
    if look.elsewhere:
        reading.counts[place] = None
        return Finding("size_mismatch", "error", (file_of_mask(look), look.pair.image), look.elsewhere, REPLACE)
    if image == mask:
        fit, turned = look.fit, look.unturned
        if not (fit and turned and turned.level > fit.level + CLEARLY and max(map(abs, turned.shift)) <= 3):
            return None
        return _cured(reading, place, Orient(turn), "warning",
            f"the image has the EXIF orientation {turn}, but the mask fits the picture as it is stored",
            "turn the mask as the image is shown: --write OUT does it")  # fmt: skip
    if mask == image[::-1] and turn >= 5:
        return _cured(reading, place, Orient(turn), "error",
            f"{sizes}: the image has the EXIF orientation {turn}, the mask was drawn on the picture as it is stored",
            "turn the mask as the image is shown: --write OUT does it")  # fmt: skip
    scales = [a / b for a, b in zip(image, mask, strict=True)] if len(image) == len(mask) and min(mask) else []
    alike = len(scales) == 2 and abs(image[0] - mask[0] * scales[1]) <= 1 + scales[1] / 2
    if alike and not 1 / SCALED < scales[0] < SCALED:
        return _cured(reading, place, Resize(), "error", f"{sizes}: the same proportions, scaled",
            "resize the mask with nearest neighbour: --write OUT does it")  # fmt: skip
    hint = ": height and width are swapped" if mask == image[::-1] else ""
    reading.counts[place] = None
    return Finding(
        "size_mismatch", "error", (file_of_mask(look), look.pair.image), sizes + hint,
        "find the mask that was drawn on this image; this one cannot be resized safely",
    )  # fmt: skip


def _cured(reading: Reading, place: int, cure: Orient | Resize, severity: str, detail: str, remedy: str) -> Finding:
    reading.cures[place].append(cure)
    files = (file_of_mask(reading.looks[place]), reading.looks[place].pair.image)
    return Finding("size_mismatch", severity, files, detail, remedy, cure=cure)  # type: ignore[arg-type]


def _odd_images(reading: Reading) -> Iterator[Finding]:
    """Find images with another number of channels, or another type, than most."""
    kinds = Counter((look.image.shape[-1], look.image.dtype) for look in reading.looks if look.image)
    if len(kinds) < 2:
        return
    (channels, dtype), most = kinds.most_common(1)[0]
    for place, look in enumerate(reading.looks):
        if look.image is None or (look.image.shape[-1], look.image.dtype) == (channels, dtype):
            continue
        own, grey = look.image.shape[-1], look.image.shape[-1] == 1 and channels == 3 and look.image.dtype == dtype
        cure = Grey(channels) if grey else None
        if cure:
            reading.cures[place].append(cure)
        yield Finding(
            "size_mismatch",
            "error",
            (look.pair.image,),
            f"{counted(own, 'channel')} of {look.image.dtype}, while {most} images have {channels} of {dtype}",
            "repeat its grey in every channel: --write OUT does it" if grey else "convert it to the others' kind",
            cure=cure,
        )


def _near(stem: str, stems: Sequence[str]) -> str | None:
    """Find the name that was probably meant."""
    if len(stems) > 2000:
        return None
    folded = {other.lower(): other for other in stems}
    close = get_close_matches(stem.lower(), list(folded), n=1, cutoff=0.8)
    return folded[close[0]] if close else None


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
