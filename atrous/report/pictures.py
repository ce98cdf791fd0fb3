"""The pictures of a case: panes that stand side by side, small enough for a page that is mailed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from atrous.labels import LabelSet
from atrous.metrics import ErrorKinds
from atrous.visual import data_uri, error_map, to_rgb8

CASE_SIZE = 480
"""Longest side of a pane, in pixels."""
CASE_BYTES = 170_000
"""Most bytes of all panes of a case before they become text; panes shrink until they fit."""


@dataclass(frozen=True)
class ImageCase:
    """One image that a report shows, with its truth and the prediction of each run.

    Args:
        name: The image's name.
        image: (H, W, C) of any numeric type; see `atrous.visual.to_rgb8`.
        truth: Class indices (H, W).
        predictions: Class indices (H, W), one map for each run. Values that are no class are black.
        scores: The mIoU of this image alone for each run, in 0..1, or nan if nothing is labelled.
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    predictions: Sequence[np.ndarray]
    scores: Sequence[float]


class CasePane(NamedTuple):
    """One picture of a case.

    kind: image, truth, prediction or errors. run: the number of its run, None for image and truth.
    sharp: its pixels stay sharp when it is enlarged.
    """

    kind: str
    run: int | None
    uri: str
    sharp: bool


def case_panes(case: ImageCase, labels: LabelSet, size: int = CASE_SIZE, most: int = CASE_BYTES) -> list[CasePane]:
    """Image and truth, then prediction and errors of each run; at most `most` bytes together."""
    pictures: list[tuple[str, int | None, np.ndarray]] = [("image", None, to_rgb8(case.image))]
    pictures.append(("truth", None, labels.to_colours(case.truth)))
    for run, prediction in enumerate(case.predictions):
        known = np.where(prediction < len(labels), prediction, labels.ignore_index)
        kinds = ErrorKinds(len(labels), labels.ignore_index).update(prediction, case.truth)
        pictures.append(("prediction", run, labels.to_colours(known)))
        pictures.append(("errors", run, error_map(case.truth, prediction, labels, kinds)))
    small = max(case.truth.shape) < size / 2
    while True:
        uris = [
            data_uri(rgb, size, exact=kind != "image", png=0 if kind == "image" else most // 4)
            for kind, _, rgb in pictures
        ]
        total = sum(map(len, uris)) * 3 / 4
        if total <= most or size <= 32:
            break
        size = round(size * min(0.9, (most / total) ** 0.5))
    return [
        CasePane(kind, run, uri, small and kind != "image") for (kind, run, _), uri in zip(pictures, uris, strict=True)
    ]
