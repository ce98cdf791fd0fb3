"""The classes of a data set: names, colours, their values in mask files, and the ignored values.

Inside atrous a class is its index 0..K-1. Files keep the data set's own values. `LabelSet`
translates.
"""

import operator
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numba import njit

from atrous.errors import DataError
from atrous.files import name_kernels_apart, read_toml, toml_text

name_kernels_apart()

Colour = tuple[int, int, int]
"""Red, green, blue, 0..255."""


def voc_palette(count: int = 256) -> tuple[Colour, ...]:
    """Make the PASCAL VOC colours: the bits of the index go in turn to red, green and blue.

    The lowest three bits become the highest bits of the colours.
    """
    colours = []
    for index in range(count):
        rgb, rest = [0, 0, 0], index
        for shift in range(7, -1, -1):
            for channel in range(3):
                rgb[channel] |= (rest >> channel & 1) << shift
            rest >>= 3
        colours.append((rgb[0], rgb[1], rgb[2]))
    return tuple(colours)


@njit(nogil=True, cache=True, boundscheck=False)
def _translate(values, table, indices):  # type: ignore[no-untyped-def]
    """Translate bytes by a table, eight at a time: 40 times faster than indexing.

    In a mask most words of eight bytes hold one value only, which needs one look-up.
    """
    # In bounds: a byte has a place in the table of 65536, and `indices` has as many words as `values`.
    low, ones = np.uint64(255), np.uint64(0x0101010101010101)
    for i in range(values.size):
        word = values[i]
        if word == (word & low) * ones:
            indices[i] = np.uint64(table[word & low]) * ones
        else:
            index = np.uint64(0)
            for k in range(8):
                shift = np.uint64(8 * k)
                index |= np.uint64(table[(word >> shift) & low]) << shift
            indices[i] = index


@dataclass(frozen=True)
class LabelSet:
    """K classes, in the channel order of the logits.

    Args:
        names: A name for each class.
        colours: RGB 0..255 for each class; default the PASCAL VOC palette.
        values: The value of each class in mask files, 0..65535; default 0..K-1.
        ignore: Mask values that count neither in the loss nor in a metric.
        mode: `exclusive` (one class per pixel, softmax) or `multilabel` (a sigmoid for each class).

    Raises:
        DataError: Numbers of names, colours and values differ, two classes share a name or a value,
            a value is both a class and ignored, or a value lies outside 0..65535.

    Example:
        >>> import numpy as np
        >>> labels = LabelSet(("sea", "land"), values=(0, 7), ignore=(9,))
        >>> len(labels), labels.colours
        (2, ((0, 0, 0), (128, 0, 0)))
        >>> labels.to_indices(np.array([[0, 7, 9]], np.uint8)).tolist()
        [[0, 1, 255]]
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...] = ()
    values: tuple[int, ...] = ()
    ignore: tuple[int, ...] = (255,)
    mode: Literal["exclusive", "multilabel"] = "exclusive"

    def __post_init__(self) -> None:
        names = _row("class names", self.names)
        if wrong := [name for name in names if not isinstance(name, str)]:
            raise DataError(f"a class is called {wrong[0]!r}; give each class a name, a text")
        colours = _row("colours", self.colours) or voc_palette(max(256, len(names)))[: len(names)]
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "colours", tuple(_colour(colour) for colour in colours))
        object.__setattr__(self, "values", _whole("mask values", self.values) or tuple(range(len(names))))
        object.__setattr__(self, "ignore", _whole("ignored values", self.ignore))
        if self.mode not in ("exclusive", "multilabel"):
            raise DataError(f"the mode is {self.mode!r}; expected 'exclusive' or 'multilabel'")
        if not len(self.names) == len(self.colours) == len(self.values):
            raise DataError(
                f"a label set needs as many colours and values as names: got {len(self.names)} names, "
                f"{len(self.colours)} colours, {len(self.values)} values; give each class one of each"
            )
        if len(set(self.values)) < len(self.values):
            raise DataError(f"two classes share one mask value: {list(self.values)}; give each class its own value")
        if twice := [name for name, count in Counter(self.names).items() if count > 1]:
            both = [value for value, name in zip(self.values, self.names, strict=True) if name == twice[0]]
            raise DataError(
                f"two classes are called {twice[0]!r}, values {both[0]} and {both[1]}; give each class its own name"
            )
        if both := sorted(set(self.values) & set(self.ignore)):
            raise DataError(f"mask value {both[0]} is both a class and ignored; keep it in one of the two")
        if not all(0 <= value <= 65535 for value in self.values + self.ignore):
            raise DataError(
                f"mask values must lie in 0..65535, got {sorted(self.values + self.ignore)}; change the values"
            )

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def numbered(cls, names: Iterable[str], colours: Iterable[Colour] = ()) -> "LabelSet":
        """Make exclusive classes with the values 0..K-1.

        Args:
            names: A name for each class.
            colours: RGB 0..255 for each class; default the PASCAL VOC palette.

        Returns:
            Classes with 255 ignored, or 65535 with more than 255 classes.

        Example:
            >>> labels = LabelSet.numbered(["background", "cat"])
            >>> labels.values, labels.ignore
            ((0, 1), (255,))
        """
        names = tuple(names)
        return cls(names, tuple(colours), ignore=(255,) if len(names) <= 255 else (65535,))

    @property
    def ignore_index(self) -> int:
        """The index of ignored pixels: 255, or 65535 with more than 255 classes."""
        return 255 if len(self) <= 255 else 65535

    @property
    def background(self) -> int:
        """The class of what is empty: that of the value 0, or the first."""
        return self.values.index(0) if 0 in self.values else 0

    @property
    def void(self) -> int:
        """The value that ignored pixels get in a mask file: the first that is ignored, else one that is free."""
        free = (value for value in (self.ignore_index, *range(254, -1, -1), 65535) if value not in self.values)
        return self.ignore[0] if self.ignore else next(free)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of index masks: uint8, or uint16 with more than 255 classes."""
        return np.dtype(np.uint8 if len(self) <= 255 else np.uint16)

    def to_indices(self, mask: np.ndarray, path: Path | str = "mask") -> np.ndarray:
        """Translate mask-file values into class indices.

        Args:
            mask: (H, W), uint8 or uint16, values as in the file.
            path: What the error calls the mask.

        Returns:
            (H, W) of `dtype`; ignored pixels become `ignore_index`.

        Raises:
            DataError: The mask holds no whole numbers, or a value is neither a class nor ignored;
                names the value and counts its pixels.
        """
        unknown = 254 if len(self) < 255 else 65534
        indices = self._look_up(mask, unknown)
        if any((band == unknown).any() for band in np.array_split(indices, 16)):  # to save memory
            stray = indices == unknown
            value, count = int(mask[stray].min()), int(stray.sum())
            raise DataError(
                f"{path}: value {value} is out of range ({count} pixels have such values): the classes are "
                f"{_ranges(self.values)}, ignored is {_ranges(self.ignore) or 'nothing'}; "
                f"add the value to classes.toml or pass --ignore {value}"
            )
        return indices.astype(self.dtype, copy=False)

    def to_classes(self, prediction: np.ndarray) -> np.ndarray:
        """Translate the values of a predicted map, which may hold anything, into class indices.

        Args:
            prediction: (H, W), uint8 or uint16.

        Returns:
            (H, W) of `dtype`; a value that is not a class becomes `ignore_index`.

        Raises:
            DataError: The map holds no whole numbers.

        Example:
            >>> import numpy as np
            >>> LabelSet(("sea", "land")).to_classes(np.array([[1, 44]], np.uint8)).tolist()
            [[1, 255]]
        """
        return self._look_up(prediction, self.ignore_index).astype(self.dtype, copy=False)

    def _look_up(self, mask: np.ndarray, others: int) -> np.ndarray:
        """Translate values into indices, uint8 for fewer than 255 classes, else uint16.

        others: the index of values that are neither classes nor ignored.
        """
        if mask.dtype not in (np.uint8, np.uint16):
            if mask.dtype.kind not in "iub":
                raise DataError(f"a mask has type {mask.dtype}; expected whole numbers, one for each class")
            # A number below 0 would be looked up from the table's end, one above 65535 beyond it.
            outside = (mask < 0) | (mask > 65535)
            indices = self._look_up(np.where(outside, 0, mask).astype(np.uint16), others)
            indices[outside] = others
            return indices
        table: np.ndarray = np.full(65536, others, np.uint8 if len(self) < 255 else np.uint16)
        table[list(self.ignore)] = self.ignore_index
        table[list(self.values)] = np.arange(len(self))
        if mask.dtype != np.uint8 or table.dtype != np.uint8:
            return table[mask]
        values, indices = np.ascontiguousarray(mask).reshape(-1), np.empty(mask.size, np.uint8)
        whole = mask.size // 8 * 8
        _translate(values[:whole].view(np.uint64), table, indices[:whole].view(np.uint64))
        indices[whole:] = table[values[whole:]]
        return indices.reshape(mask.shape)

    def to_values(self, indices: np.ndarray) -> np.ndarray:
        """Translate class indices into mask-file values.

        Args:
            indices: (H, W), 0..K-1 or `ignore_index`.

        Returns:
            (H, W), uint8, or uint16 if a class or an ignored value is above 255. Ignored pixels
            become `void`.

        Example:
            >>> import numpy as np
            >>> labels = LabelSet(("sea", "land"), values=(0, 7), ignore=(9,))
            >>> labels.to_values(np.array([[1, 255]], np.uint8)).tolist()
            [[7, 9]]
        """
        table = np.zeros(self.ignore_index + 1, np.uint16)
        table[: len(self)] = self.values
        table[self.ignore_index] = self.void
        values = table[indices]
        return values.astype(np.uint8) if max((*self.values, *self.ignore, self.void)) <= 255 else values

    def to_colours(self, indices: np.ndarray) -> np.ndarray:
        """Paint class indices.

        Args:
            indices: (H, W), 0..K-1 or `ignore_index`.

        Returns:
            (H, W, 3) uint8, RGB; ignored pixels are black.
        """
        table = np.zeros((self.ignore_index + 1, 3), np.uint8)
        table[: len(self)] = self.colours
        return table[indices]

    def to_toml(self) -> str:
        """The text of a `classes.toml`, which `from_toml` reads."""
        document: dict[str, Any] = {"ignore": self.ignore}
        if self.mode != "exclusive":
            document["mode"] = self.mode
        document["class"] = [
            {"name": name, "value": value, "color": colour}
            for name, value, colour in zip(self.names, self.values, self.colours, strict=True)
        ]
        return toml_text(document)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for the card of a bundle."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "LabelSet":
        """Make a label set from the data of `to_dict`; DataError if it is not such data."""
        fields = set(cls.__dataclass_fields__)
        if not isinstance(data, dict) or set(data) != fields:
            raise DataError(f"labels are {_short(data)}; expected the keys {', '.join(sorted(fields))}")
        return cls(**data)

    @classmethod
    def from_toml(cls, path: Path | str) -> "LabelSet":
        """Read a `classes.toml`: `ignore = [255]`, and `[[class]]` tables of name, value, color.

        Args:
            path: The file. `value` defaults to the number of the class, `color` to the VOC palette,
                `ignore` to [255] if 255 is not a class.

        Returns:
            The classes, in the order of the file.

        Raises:
            DataError: The file cannot be read, is not a classes file, or contradicts itself.
        """
        path = Path(path)
        try:
            data = read_toml(path)
            classes = data["class"]
            names = tuple(entry["name"] for entry in classes)
            values = tuple(entry.get("value", index) for index, entry in enumerate(classes))
            palette = voc_palette(max(256, len(classes)))
            colours = tuple(entry.get("color", palette[index]) for index, entry in enumerate(classes))
            unknown = set(data) - {"class", "ignore", "mode"}
            if unknown or not names:
                raise ValueError(f"unknown key {sorted(unknown)[0]!r}" if unknown else "no class")
            mode, ignore = data.get("mode", "exclusive"), data.get("ignore", [255] if 255 not in values else [])
        except DataError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: not a classes file ({error}); expected `ignore = [255]` and a [[class]] with name, "
                "value and color for each class, correct the file"
            ) from error
        try:
            return cls(names, colours, values, ignore, mode)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def _row(what: str, given: Any) -> tuple[Any, ...]:
    """A list of any kind as a tuple; a text, which is a list of letters to Python, is none."""
    if isinstance(given, str | bytes | dict):
        raise DataError(f"the {what} are {_short(given)}; expected a list")
    try:
        return tuple(given)
    except TypeError:
        raise DataError(f"the {what} are {_short(given)}; expected a list") from None


def _whole(what: str, given: Any) -> tuple[int, ...]:
    """Whole numbers as they are: 1.7, "1" and true are none."""
    try:
        row = _row(what, given)
        if any(isinstance(value, bool | np.bool_) for value in row):
            raise TypeError
        return tuple(operator.index(value) for value in row)
    except TypeError:
        raise DataError(f"the {what} are {_short(given)}; expected whole numbers from 0 to 65535") from None


def _colour(given: Any) -> Colour:
    colour = _whole("numbers of a color", given)
    if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
        raise DataError(f"a color is {_short(given)}; expected three numbers 0..255: red, green, blue")
    return colour


def _short(given: Any) -> str:
    """What was given, cut after 60 letters."""
    text = repr(given)
    return text if len(text) <= 60 else text[:57] + "..."


def _ranges(values: tuple[int, ...]) -> str:
    """Write values as ranges: 0, 1, 2, 3, 7 -> '0..3, 7'."""
    parts: list[list[int]] = []
    for value in sorted(values):
        if parts and value == parts[-1][1] + 1:
            parts[-1][1] = value
        else:
            parts.append([value, value])
    return ", ".join(f"{low}..{high}" if high > low else str(low) for low, high in parts)


VOC21 = LabelSet(
    ("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
     "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")
)  # fmt: skip

CITYSCAPES19 = LabelSet(
    ("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
     "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
    ((128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
     (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
     (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32)),
)  # fmt: skip

ADE150 = LabelSet(  # SceneParse150: mask files of the benchmark hold 1..150, and 0 = unlabelled
    (
        "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass", "cabinet",
        "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water",
        "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair", "seat", "fence", "desk",
        "rock", "wardrobe", "lamp", "bathtub", "railing", "cushion", "base", "box", "column", "signboard",
        "chest of drawers", "counter", "sand", "sink", "skyscraper", "fireplace", "refrigerator", "grandstand", "path",
        "stairs", "runway", "case", "pool table", "pillow", "screen door", "stairway", "river", "bridge", "bookcase",
        "blind", "coffee table", "toilet", "flower", "book", "hill", "bench", "countertop", "stove", "palm",
        "kitchen island", "computer", "swivel chair", "boat", "bar", "arcade machine", "hovel", "bus", "towel", "light",
        "truck", "tower", "chandelier", "awning", "streetlight", "booth", "television receiver", "airplane",
        "dirt track", "apparel", "pole", "land", "bannister", "escalator", "ottoman", "bottle", "buffet", "poster",
        "stage", "van", "ship", "fountain", "conveyer belt", "canopy", "washer", "plaything", "swimming pool", "stool",
        "barrel", "basket", "waterfall", "tent", "bag", "minibike", "cradle", "oven", "ball", "food", "step", "tank",
        "trade name", "microwave", "pot", "animal", "bicycle", "lake", "dishwasher", "screen", "blanket", "sculpture",
        "hood", "sconce", "vase", "traffic light", "tray", "ashcan", "fan", "pier", "crt screen", "plate", "monitor",
        "bulletin board", "shower", "radiator", "glass", "clock", "flag"
    ),
    values=tuple(range(1, 151)),
    ignore=(0,),
)  # fmt: skip

CAMVID11 = LabelSet(
    ("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"),
    ((128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
     (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192)),
    ignore=(11,),
)  # fmt: skip
