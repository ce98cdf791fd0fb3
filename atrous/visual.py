"""Pictures for people: images as 8-bit RGB, labels laid over them, error maps, legends.

Nothing here imports torch.
"""

import base64
from collections.abc import Sequence

import cv2
import numpy as np

from atrous.errors import DataError
from atrous.labels import LabelSet

WRONG = (214, 39, 40)
"""The red of a wrong pixel where the kinds of errors are not told apart."""
KIND_COLOURS = ((86, 180, 233), (213, 94, 0), (0, 114, 178), (0, 0, 0))
"""The colour of each kind of error, in the order of `atrous.metrics.errors.ERROR_KINDS`.

They are four of the eight colours of Okabe and Ito: those that stay furthest apart, and from the
greys of an error map, under simulated colour blindness of each sort.
"""
ROWS = 25
"""Classes in one column of a legend."""
WEIGHT = 500
"""How bold the letters of a legend are: 400 is regular, 700 bold."""


def to_rgb8(image: np.ndarray) -> np.ndarray:
    """An image of any type and number of channels as 8-bit RGB, to be looked at.

    Args:
        image: (H, W, C) of any numeric type. One channel becomes grey, two become red and green, of
            more than three the first three are shown.

    Returns:
        (H, W, 3) uint8. uint8 values stay as they are. Others are stretched: the 1st and the 99th
        percentile of the finite values become 0 and 255.

    Raises:
        DataError: The image is not (H, W, C), or is empty.

    Example:
        >>> scan = np.linspace(-1000, 2000, 600).reshape(20, 30, 1)
        >>> shown = to_rgb8(scan)
        >>> shown.shape, shown[0, 0].tolist(), shown[-1, -1].tolist()
        ((20, 30, 3), [0, 0, 0], [255, 255, 255])
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


def chief_slice(labels: np.ndarray) -> int:
    """The slice of a label map (D, H, W) that shows most: that with the most voxels of other labels than 0.

    Example:
        >>> chief_slice(np.array([[[0, 0]], [[3, 0]], [[1, 2]], [[2, 0]]]))
        2
    """
    return int((labels > 0).sum((1, 2)).argmax())


def overlay(image: np.ndarray, indices: np.ndarray, labels: LabelSet, alpha: float = 0.5) -> np.ndarray:
    """The class colours laid over an image.

    Args:
        image: (H, W, C) of any numeric type; see `to_rgb8`.
        indices: Class indices (H, W). Where they are ignored, the image alone is shown.
        labels: The classes and their colours.
        alpha: 0..1: 0 shows the image alone, 1 the colours alone.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: The sizes differ.

    Example:
        >>> labels = LabelSet(("road", "car"), ((100, 100, 100), (250, 0, 0)))
        >>> overlay(np.zeros((1, 2, 3), np.uint8), np.array([[0, 1]], np.uint8), labels).tolist()
        [[[50, 50, 50], [125, 0, 0]]]
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
    """Where a prediction is wrong.

    Right pixels are pale grey, lighter where the class's colour is lighter: the scene can still be
    recognised. Ignored pixels are hatched dark. Wrong pixels are red, or have the colour of their
    kind; not that of a class, which may be grey or white itself.

    Args:
        truth: Class indices (H, W).
        prediction: Class indices (H, W).
        labels: The classes and their colours.
        kinds: (H, W) as `atrous.metrics.ErrorKinds.update` returns it. A wrong pixel then has its
            kind's colour of `KIND_COLOURS`.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: The sizes differ.

    Example:
        >>> labels = LabelSet(("road", "car"), ((100, 100, 100), (250, 0, 0)))
        >>> truth, prediction = np.array([[0, 1, 255]], np.uint8), np.array([[0, 0, 0]], np.uint8)
        >>> error_map(truth, prediction, labels).tolist()
        [[[215, 215, 215], [214, 39, 40], [84, 84, 84]]]
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
    """A picture of the classes: the colour and the name of each, in columns of at most 25.

    Args:
        labels: The classes and their colours.

    Returns:
        (H, W, 3) uint8, as large as the names need.

    Example:
        >>> legend(LabelSet(("road", "car"))).shape[0]
        74
    """
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
    """Columns of pictures side by side, each picture scaled to one width.

    Args:
        columns: For each column, its pictures from top to bottom: (H, W, 3) uint8 of any size.
        width: Of every picture in the result, in pixels.

    Returns:
        (H', W', 3) uint8. Below a shorter column it is white.

    Example:
        >>> one, other = np.zeros((20, 40, 3), np.uint8), np.zeros((40, 40, 3), np.uint8)
        >>> beside([[one, one], [other]], width=20).shape
        (20, 40, 3)
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
    """A picture as a `data:` URI, which an HTML page can hold.

    Args:
        rgb: (H, W, 3) uint8.
        size: The longest side in pixels; a larger picture is scaled down.
        exact: Scale by nearest neighbour, so that no new colours arise.
        png: Store it as PNG if that takes at most this many bytes, else as JPEG; 0 for JPEG.

    Example:
        >>> data_uri(np.zeros((4, 4, 3), np.uint8), 4, exact=True, png=1000)[:22]
        'data:image/png;base64,'
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
    """float32 of any range -> uint8, by percentiles of about a million evenly spread pixels."""
    step = max(1, int((image.size / 3e6) ** 0.5))
    some = image[::step, ::step]
    some = some[np.isfinite(some)]
    low, high = np.percentile(some, [1, 99]) if some.size else (0.0, 1.0)
    if high <= low and some.size:  # nearly constant: the few other values must show
        low, high = some.min(), some.max()
    scaled = (image - low) * (255 / max(high - low, 1e-30))
    return np.clip(np.nan_to_num(scaled, nan=0, posinf=255, neginf=0), 0, 255).astype(np.uint8)


def _same_size(first: str, a: np.ndarray, second: str, b: np.ndarray) -> None:
    if b.ndim != 2 or a.shape[:2] != b.shape:
        raise DataError(f"{first} has shape {a.shape}, {second} {b.shape}; expected equal heights and widths")
