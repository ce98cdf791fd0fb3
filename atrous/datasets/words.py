"""Pairs the names of images and masks that differ in words which all names of their side share.

`c0_leftImg8bit` belongs to `c0_gtFine_labelIds`, `IMG-1` to `GT-1`, `img001` to `mask001`. Without
the words that are in all names of one side and in no name of the other, an image and its mask must
have the same name. A word that is a number is kept, and so is one that is nearly the same on the
other side (`scan1` and `scan2`, `clipA` and `clipB`): such words tell images apart.
"""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

WORDS = (re.compile(r"[^\W_]+"), re.compile(r"[^\W\d_]+|\d+"))
"""How names are cut into words: at signs, else also between letters and digits."""
ALIKE = 0.75
"""Two words are nearly the same if so much of them is equal."""


class Partners(NamedTuple):
    """What `pair_by_words` found. pairs: image -> mask. images, masks: the words that differ."""

    pairs: dict[str, str]
    images: list[str]
    masks: list[str]


def pair_by_words(images: Sequence[str], masks: Sequence[str]) -> Partners | None:
    """Pair names (`folder/stem`) one to one; None if there is no such rule.

    Every image must have its mask, or every mask its image; a single pair only if there is one name
    on each side.
    """
    for pattern in WORDS:
        ours, theirs = ({name: _cut(name, pattern) for name in names} for names in (images, masks))
        if not ours or not theirs:
            return None
        left, right = _own_words(ours, theirs), _own_words(theirs, ours)
        if _tell_apart(left, right):
            continue
        image_of, mask_of = _without(ours, left), _without(theirs, right)
        if image_of is None or mask_of is None:
            continue
        pairs = {image: mask_of[rest] for rest, image in image_of.items() if rest in mask_of}
        whole = len(pairs) in (len(images), len(masks))
        if whole and (len(pairs) > 1 or len(images) == len(masks)):
            return Partners(pairs, left, right)
    return None


def _cut(name: str, pattern: re.Pattern[str]) -> tuple[str, list[str]]:
    folder, _, stem = name.rpartition("/")
    return folder, pattern.findall(stem)


def _own_words(names: dict[str, tuple[str, list[str]]], others: dict[str, tuple[str, list[str]]]) -> list[str]:
    """List the words that are in all names and in none of the others."""
    shared = set.intersection(*(set(words) for _, words in names.values()))
    return sorted(shared - {word for _, words in others.values() for word in words})


def _tell_apart(left: Sequence[str], right: Sequence[str]) -> bool:
    """Tell whether one of the words is a number, or nearly the same as one of the other side."""
    if any(word.isdigit() for word in (*left, *right)):
        return True
    return any(SequenceMatcher(None, a, b).ratio() >= ALIKE for a in left for b in right)


def _without(names: dict[str, tuple[str, list[str]]], words: Sequence[str]) -> dict[tuple[str, ...], str] | None:
    """Return what is left of each name -> name; None if that is nothing, or not unique."""
    found = {(folder, *(word for word in parts if word not in words)): name for name, (folder, parts) in names.items()}
    return found if len(found) == len(names) and all(any(rest[1:]) for rest in found) else None
