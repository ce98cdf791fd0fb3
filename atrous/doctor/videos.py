"""Finds frames of one video, or slices of one stack, that lie in several splits.

Names give the candidates: `0016E5_00390` and `0016E5_00420` differ only in their last number. The
pictures decide: in a video, neighbours by number look more alike than random pictures do; in a set
that is merely numbered, they do not.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from math import comb
from pathlib import Path

import cv2
import numpy as np

from atrous.datasets.folder import IMAGE_FOLDERS, SPLITS
from atrous.doctor.copies import BY_HASH, normalised
from atrous.doctor.findings import Finding
from atrous.doctor.look import PairLook

FRAME = re.compile(r"(.*?)(\d+)\D*")
"""The prefix and the last number of a name."""
WINS = 0.85
"""The share of neighbours, over all prefixes, that must look more alike than a random picture."""
FEWEST = 7
"""With fewer neighbours, over all prefixes, nothing is decided."""


def find_videos(looks: Sequence[PairLook], sides: Sequence[str]) -> Iterator[Finding]:
    """Yield a leak for each prefix whose pictures lie in several splits."""
    shown = [k for k, look in enumerate(looks) if look.image and look.image.cells is not None]
    if not shown:
        return
    cells = np.stack([looks[k].image.cells[..., 0] for k in shown])  # type: ignore[union-attr, index]
    pictures = dict(zip(shown, normalised(cells), strict=True))
    videos = prefixes([look.pair.image for look in looks], shown)
    duels = {name: _duels(order, pictures) for name, order in videos.items()}
    if not are_videos(duels):
        return
    for name, order in sorted(videos.items()):
        parts = {side: [k for k in order if sides[k] == side] for side in dict.fromkeys(sides[k] for k in order)}
        if len(parts) < 2 or duels[name][0] < 0.7 * duels[name][1]:
            continue
        counts = ", ".join(f"{len(part)} in {side}" for side, part in parts.items())
        planned = len({looks[k].split for k in order}) == len(parts)
        yield Finding(
            "leak", "warning", tuple(looks[part[0]].pair.image for part in parts.values()),
            f"frames of one video or slices of one stack, {name.rstrip('_-. ') or 'numbered'}, lie in several splits "
            f"({counts}): neighbours look alike, so the score is better than on a new video",
            "split by video" if planned else BY_HASH, count=len(order),
        )  # fmt: skip


def recordings(images: Sequence[Path], pictures: Iterable[np.ndarray]) -> list[str] | None:
    """Tell the video of each image (H, W, C) by its path; None if neighbours do not look alike.

    Pictures are looked at one by one; none is kept.
    """
    small = [
        cv2.resize(np.asarray(one.mean(2), np.float32), (32, 32), interpolation=cv2.INTER_AREA) for one in pictures
    ]
    shown = dict(enumerate(normalised(np.stack(small))))
    videos = prefixes(images, list(shown))
    if not are_videos({name: _duels(order, shown) for name, order in videos.items()}):
        return None
    own = {k: name for name, order in videos.items() for k in order}
    return [own.get(k, str(path)) for k, path in enumerate(images)]


def are_videos(duels: dict[str, tuple[int, int]]) -> bool:
    """Tell whether neighbours look alike, over all prefixes. duels: prefix -> (won, trials)."""
    wins, trials = (sum(numbers) for numbers in zip(*duels.values(), strict=True)) if duels else (0, 0)
    return trials >= FEWEST and wins >= WINS * trials and chance(wins, trials) <= 0.01


def prefixes(images: Sequence[Path], places: Sequence[int]) -> dict[str, list[int]]:
    """Group images by the prefix of their names: prefix -> places in the order of their numbers.

    The folder is part of the prefix, unless it is one of images or of a split.
    """
    found = defaultdict(list)
    for k in places:
        if name := FRAME.fullmatch(images[k].stem):
            folder = images[k].parent.name
            own = "" if folder.lower() in (*IMAGE_FOLDERS, *SPLITS) else f"{folder}/"
            found[own + name[1]].append((int(name[2]), k))
    return {name: [k for _, k in sorted(frames)] for name, frames in found.items() if len(frames) > 1}


def chance(wins: int, trials: int) -> float:
    """The probability of so many heads or more in so many tosses of a coin."""
    if trials > 500:  # a bound on the tail of the normal distribution is near enough
        z = (wins - trials / 2) / (trials / 4) ** 0.5
        return float(np.exp(-z * z / 2)) if z > 0 else 1.0
    return sum(comb(trials, k) for k in range(wins, trials + 1)) / 2**trials


def _duels(order: Sequence[int], pictures: dict[int, np.ndarray]) -> tuple[int, int]:
    """Count how often the next picture is more alike than a random one, and the trials."""
    everyone, dice = list(pictures), np.random.default_rng(len(order))
    wins = trials = 0
    for this, after, other in zip(order, order[1:], dice.choice(everyone, len(order) - 1).tolist(), strict=False):
        if other not in (this, after):
            near, far = (float((pictures[this] * pictures[k]).sum()) for k in (after, other))
            wins, trials = wins + (near > far), trials + 1
    return wins, trials
