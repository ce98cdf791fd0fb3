"""Pictures for people: images as 8-bit RGB, labels laid over them, errors, legends. Nothing here imports torch."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np

from atrous.errors import DataError
from atrous.labels import LabelSet

WRONG = (214, 39, 40)
KIND_COLOURS = ((86, 180, 233), (213, 94, 0), (0, 114, 178), (0, 0, 0))
"""Of the kinds of errors in the order of `atrous.metrics.errors.ERROR_KINDS`:
of Okabe and Ito's eight the four that stay
furthest from one another, and from the greys of an error map, under simulated colour blindness of each sort."""
ROWS = 25
"""Classes in one column of a legend."""
WEIGHT = 500
"""Of the legend's letters: 400 is regular, 700 bold."""


def to_rgb8(image: np.ndarray) -> np.ndarray:
    """An image (H, W, C) of any numeric type -> (H, W, 3) uint8, RGB 0..255.

    uint8 passes, all else is stretched so that the 1st and 99th percentile of its finite values become 0 and 255.
    One channel gives grey, two are red and green, of more than three the first three count. DataError for another rank.
    """
    if image.ndim != 3 or not image.size:
        raise DataError(f"an image has shape {image.shape}; expected (H, W, C) with at least one pixel and channel")
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    elif image.shape[2] == 2:
        image = np.concatenate([image, np.zeros_like(image[..., :1])], axis=2)
    image = image[..., :3]
    if image.dtype != np.uint8:
        image = _stretch(image.astype(np.float32))
    return np.ascontiguousarray(image)


def overlay(image: np.ndarray, indices: np.ndarray, labels: LabelSet, alpha: float = 0.5) -> np.ndarray:
    """The class colours laid over an image (H, W, C) of any type: (H, W, 3) uint8.

    indices: (H, W) class indices; ignored pixels show the image. alpha: 0 = the image alone, 1 = the colours alone.
    DataError where the sizes differ.
    """
    _same_size("an image", image, "its labels", indices)
    rgb = to_rgb8(image)
    blended = cv2.addWeighted(rgb, 1 - alpha, labels.to_colours(indices), alpha, 0)
    bare = indices == labels.ignore_index
    blended[bare] = rgb[bare]
    return blended


def error_map(
    truth: np.ndarray, prediction: np.ndarray, labels: LabelSet, kinds: np.ndarray | None = None
) -> np.ndarray:
    """Where a prediction is wrong, (H, W, 3) uint8: red; what is right in pale greys, what is ignored hatched dark.

    truth, prediction: (H, W) class indices. A lighter grey is a class of a lighter colour, so that the scene stays
    legible. Every wrong pixel has one red whatever was predicted: class colours may be grey or white themselves.
    kinds: (H, W) as `atrous.metrics.ErrorKinds.update` returns it; a wrong pixel then has the colour of its kind.
    DataError where the sizes differ.
    """
    _same_size("a true mask", truth, "its prediction", prediction)
    luminance = cv2.cvtColor(labels.to_colours(truth), cv2.COLOR_RGB2GRAY)
    picture = cv2.cvtColor((196 + luminance * (50 / 255)).astype(np.uint8), cv2.COLOR_GRAY2RGB)
    ignored = truth == labels.ignore_index
    wrong = (truth != prediction) & ~ignored
    picture[wrong] = WRONG if kinds is None else np.array(KIND_COLOURS, np.uint8)[kinds[wrong]]
    rows, columns = np.nonzero(ignored)
    picture[rows, columns] = np.where((rows + columns) % 8 < 3, 84, 46)[:, None]
    return picture


def legend(labels: LabelSet) -> np.ndarray:
    """A picture of the classes, (H, W, 3) uint8: a swatch and the name of each, in columns of at most 25."""
    font, size, row, swatch, margin = cv2.FontFace("sans"), 18, 30, 34, 14
    names = [" ".join(name.split()) for name in labels.names]
    widest = max(cv2.getTextSize((0, 0), name, (0, 0), font, size, WEIGHT)[2] for name in names)
    width = margin + swatch + 10 + widest + margin
    picture = np.full((min(len(names), ROWS) * row + margin, -(-len(names) // ROWS) * width, 3), 255, np.uint8)
    for k, (name, colour) in enumerate(zip(names, labels.colours, strict=True)):
        x, y = k // ROWS * width + margin, k % ROWS * row + margin // 2
        cv2.rectangle(picture, (x, y + 5), (x + swatch, y + 25), colour, cv2.FILLED)
        cv2.rectangle(picture, (x, y + 5), (x + swatch, y + 25), (110, 110, 110))
        cv2.putText(picture, name, (x + swatch + 10, y + 22), (30, 30, 30), font, size, WEIGHT)
    return picture


def beside(columns: Sequence[Sequence[np.ndarray]], width: int) -> np.ndarray:
    """Columns of pictures, (H, W, 3) uint8 of any size, side by side: (H', W', 3), each picture `width` pixels wide.

    Columns of different heights are filled up in white.
    """
    stacks = []
    for pictures in columns:
        sizes = [(width, max(1, round(width * picture.shape[0] / picture.shape[1]))) for picture in pictures]
        shrunk = [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p, size in zip(pictures, sizes, strict=True)]
        stacks.append(np.concatenate(shrunk))
    height = max(len(stack) for stack in stacks)
    page = np.full((height, width * len(stacks), 3), 255, np.uint8)
    for place, stack in enumerate(stacks):
        page[: len(stack), place * width : (place + 1) * width] = stack
    return page


def data_uri(rgb: np.ndarray, size: int, *, exact: bool, png: int) -> str:
    """A picture (H, W, 3) uint8, scaled down to at most `size` pixels a side, as a `data:` URI.

    exact: no new colours arise when it is scaled. It is stored as PNG where that takes at most `png` bytes, else JPEG.
    """
    height, width = rgb.shape[:2]
    factor = min(1.0, size / max(height, width))
    if factor < 1:
        shape = (max(1, round(width * factor)), max(1, round(height * factor)))
        rgb = cv2.resize(rgb, shape, interpolation=cv2.INTER_NEAREST if exact else cv2.INTER_AREA)
    bgr, kind = rgb[..., ::-1], "png"
    data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 6])[1] if png else np.empty(0, np.uint8)
    if not 0 < len(data) <= png:
        data, kind = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}"


def _stretch(image: np.ndarray) -> np.ndarray:
    """Float32 values of any range -> uint8 by percentiles, which a million evenly spread pixels give well enough."""
    step = max(1, int((image.size / 3e6) ** 0.5))
    some = image[::step, ::step]
    some = some[np.isfinite(some)]
    low, high = np.percentile(some, [1, 99]) if some.size else (0.0, 1.0)
    if high <= low and some.size:  # nearly constant: what differs at all must show
        low, high = some.min(), some.max()
    scaled = (image - low) * (255 / max(high - low, 1e-30))
    return np.clip(np.nan_to_num(scaled, nan=0, posinf=255, neginf=0), 0, 255).astype(np.uint8)


def _same_size(first: str, a: np.ndarray, second: str, b: np.ndarray) -> None:
    if b.ndim != 2 or a.shape[:2] != b.shape:
        raise DataError(f"{first} has shape {a.shape}, {second} {b.shape}; expected equal heights and widths")
