"""COCO-Stuff: the pixel maps of 80 things and 91 kinds of stuff on COCO's images.

ROOT/train2017/000000000009.jpg                    or ROOT/images/train2017/
ROOT/stuffthingmaps_trainval2017/train2017/*.png   or ROOT/stuffthingmaps/: id - 1, 255 = unlabelled
ROOT/annotations/train2017/*_labelTrainIds.png     as mmsegmentation converts them: 0..170, 255

Eleven of the 182 ids do not occur. The order of the 171 classes is the same in both forms.

Source: github.com/nightrome/cocostuff, README and labels.txt.
"""

import os
from pathlib import Path

from atrous.datasets.folder import Folder, files_in, folders_in, split_of
from atrous.io.paths import pictures_below
from atrous.labels import LabelSet

LACKS = "train2017/*.jpg (or images/train2017/) and stuffthingmaps_trainval2017/train2017/*.png"
TRAIN_IDS = "_labelTrainIds"
MAPS = ("stuffthingmaps_trainval2017", "stuffthingmaps", "annotations")

THINGS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
STUFF = (
    "banner", "blanket", "branch", "bridge", "building-other", "bush", "cabinet", "cage", "cardboard", "carpet",
    "ceiling-other", "ceiling-tile", "cloth", "clothes", "clouds", "counter", "cupboard", "curtain", "desk-stuff",
    "dirt", "door-stuff", "fence", "floor-marble", "floor-other", "floor-stone", "floor-tile", "floor-wood", "flower",
    "fog", "food-other", "fruit", "furniture-other", "grass", "gravel", "ground-other", "hill", "house", "leaves",
    "light", "mat", "metal", "mirror-stuff", "moss", "mountain", "mud", "napkin", "net", "paper", "pavement",
    "pillow", "plant-other", "plastic", "platform", "playingfield", "railing", "railroad", "river", "road", "rock",
    "roof", "rug", "salad", "sand", "sea", "shelf", "sky-other", "skyscraper", "snow", "solid-other", "stairs",
    "stone", "straw", "structural-other", "table", "tent", "textile-other", "towel", "tree", "vegetable",
    "wall-brick", "wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile", "wall-wood", "water-other",
    "waterdrops", "window-blind", "window-other", "wood",
)  # fmt: skip
UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
"""The ids in 1..182 that no class has."""
RAW171 = LabelSet(THINGS + STUFF, values=tuple(id - 1 for id in range(1, 183) if id not in UNUSED))
TRAIN171 = LabelSet(THINGS + STUFF)


def recognise(root: Path) -> str | None:
    """By the published name of the folder of maps, or by mmsegmentation's ending of their names."""
    found = _folders(root)
    if not found:
        return None
    images, maps = next(iter(found.values()))
    return f"{maps.relative_to(root)}/ holds COCO-Stuff's pixel maps for {images.relative_to(root)}/"


def read(root: Path) -> Folder:
    """Read each image with its map."""
    folders = _folders(root)
    ending = TRAIN_IDS if all(_has_train_ids(maps) for _, maps in folders.values()) else ""
    folder = Folder("coco_stuff", recognise(root) or "", root, {}, TRAIN171 if ending else RAW171)
    for split, (images, maps) in folders.items():
        pictures = folder.by_name(pictures_below(images), lambda path: path.stem)
        drawn = [path for path in pictures_below(maps) if path.name.endswith(f"{ending}.png")]
        if not ending:
            drawn = [path for path in drawn if not path.stem.endswith(TRAIN_IDS)]
        masks = folder.by_name(drawn, lambda path: path.stem.removesuffix(ending))
        folder.add_named(split, [*pictures, *masks], pictures, masks, root)
    return folder


def _folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Find the folders: split -> (images, maps).

    `annotations` counts only if its maps have mmsegmentation's ending.
    """
    found: dict[str, tuple[Path, Path]] = {}
    for maps in (root / name for name in MAPS):
        for folder in folders_in(maps) if os.path.isdir(maps) else ():
            split = split_of(folder.name)
            images = next(
                (path for path in (root / "images" / folder.name, root / folder.name) if os.path.isdir(path)), None
            )
            sure = maps.name != "annotations" or ("2017" in folder.name and _has_train_ids(folder))
            if split and images and split not in found and sure:
                found[split] = images, folder
    return found


def _has_train_ids(maps: Path) -> bool:
    return bool(files_in(maps, f"{TRAIN_IDS}.png".lower()))
