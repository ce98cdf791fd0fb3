"""The layouts, and which one a folder has.

`LAYOUTS` is tried from top to bottom, the special forms first; the first layout that recognises the
folder reads it. To add one, put a file with `recognise` and `read` beside this one and add its
line.
"""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from atrous.datasets import (
    ade20k,
    camvid,
    cityscapes,
    class_masks,
    coco,
    coco_stuff,
    cvat,
    cvat_xml,
    darwin,
    decathlon,
    geotiff,
    label_studio,
    label_studio_png,
    labelme,
    nnunet,
    plain_pairs,
    roboflow,
    stacks,
    supervisely,
    via,
    voc,
    volume_pairs,
    yolo,
)
from atrous.datasets.folder import IMAGE_FOLDERS, MASK_FOLDERS, Folder, Layout, Pair, folders_in, split_of
from atrous.datasets.split_lists import divide
from atrous.errors import DataError
from atrous.io import no_such_path
from atrous.io.paths import closed_folder, left_out

__all__ = ["LAYOUTS", "Folder", "Layout", "Pair", "find_pairs", "read_folder"]

LAYOUTS: dict[str, Layout] = {
    "cityscapes": Layout(cityscapes.recognise, cityscapes.read, cityscapes.LACKS),
    "ade20k": Layout(ade20k.recognise, ade20k.read, ade20k.LACKS),
    "cvat": Layout(cvat.recognise, cvat.read, cvat.LACKS),
    "voc": Layout(voc.recognise, voc.read, voc.LACKS),
    "camvid": Layout(camvid.recognise, camvid.read, camvid.LACKS),
    "nnunet": Layout(nnunet.recognise, nnunet.read, nnunet.LACKS),
    "decathlon": Layout(decathlon.recognise, decathlon.read, decathlon.LACKS),
    "coco_stuff": Layout(coco_stuff.recognise, coco_stuff.read, coco_stuff.LACKS),
    "coco": Layout(coco.recognise, coco.read, coco.LACKS),
    "roboflow": Layout(roboflow.recognise, roboflow.read, roboflow.LACKS),
    "cvat_xml": Layout(cvat_xml.recognise, cvat_xml.read, cvat_xml.LACKS),
    "via": Layout(via.recognise, via.read, via.LACKS),
    "supervisely": Layout(supervisely.recognise, supervisely.read, supervisely.LACKS),
    "darwin": Layout(darwin.recognise, darwin.read, darwin.LACKS),
    "label_studio": Layout(label_studio.recognise, label_studio.read, label_studio.LACKS),
    "label_studio_png": Layout(label_studio_png.recognise, label_studio_png.read, label_studio_png.LACKS),
    "labelme": Layout(labelme.recognise, labelme.read, labelme.LACKS),
    "yolo": Layout(yolo.recognise, yolo.read, yolo.LACKS),
    "stacks": Layout(stacks.recognise, stacks.read, stacks.LACKS),
    "class_masks": Layout(class_masks.recognise, class_masks.read, class_masks.LACKS),
    "geotiff": Layout(geotiff.recognise, geotiff.read, geotiff.LACKS),
    "volumes": Layout(volume_pairs.recognise, volume_pairs.read, volume_pairs.LACKS),
    "pairs": Layout(plain_pairs.recognise, plain_pairs.read, plain_pairs.EXPECTED),
}
ORDER = ("train", "val", "test")


def read_folder(root: Path | str, *, valid_area: str | None = None) -> Folder:
    """Read a data folder of any layout, without decoding its images.

    The first layout of `LAYOUTS` that recognises the folder reads it. Missing partners, unknown
    annotations and the like raise no error: they stand in the result, and `atrous check` reports
    them.

    Args:
        root: The data folder.
        valid_area: The name of the folder of fields of view beside images/, in plain pairs.

    Returns:
        Its layout, the pairs by split, the classes if the layout names them, and what is wrong.

    Raises:
        DataError: The path is not a folder, no layout fits (the error tells what each layout
            needs), or the layout cannot read its own files.

    Example:
        >>> import numpy as np
        >>> from atrous.io import write_image
        >>> for part in ("images", "masks"):
        ...     write_image(f"data/{part}/a.png", np.zeros((4, 4), np.uint8))
        >>> folder = read_folder("data")
        >>> folder.layout, folder.why, len(folder.splits["all"])
        ('pairs', 'images/ and masks/ lie side by side', 1)
    """
    root = Path(root)
    if not os.path.exists(root):
        raise no_such_path(root)
    if not os.path.isdir(root):
        raise DataError(f"{root}: a file; expected a folder, give the folder that holds {plain_pairs.EXPECTED}")
    closed = _closed_folders(root)
    forms = list(LAYOUTS.values())
    if valid_area is not None:
        valid_area = plain_pairs.area_name(root, valid_area)
        read = partial(plain_pairs.read, valid_area=valid_area)
        forms = [Layout(partial(plain_pairs.recognise, valid_area=valid_area), read, plain_pairs.EXPECTED)]
    for form in forms:
        if form.recognise(root):
            try:
                folder = divide(form.read(root))
            except DataError as error:  # classes that contradict themselves do not know whose they are
                raise error if str(root) in str(error) else DataError(f"{root}: {error}") from error
            folder.settle()
            folder.notes.extend(f"{path.name}/ may not be entered and is not read" for path in closed)
            folder.notes.extend(filter(None, [left_out(root)]))
            order = (*ORDER, *(split for split in folder.splits if split not in ORDER))
            return replace(folder, splits={split: folder.splits[split] for split in order if split in folder.splits})
    raise closed_folder(closed[0]) if closed else _no_layout(root)


def find_pairs(root: Path | str) -> dict[str, list[Pair]]:
    """Read the pairs of a data folder that is complete.

    Args:
        root: The data folder, in any layout.

    Returns:
        Split -> pairs, sorted by image.

    Raises:
        DataError: As `read_folder`; also for an image without labels, labels without an image, or
            two files that claim one place.

    Example:
        >>> import numpy as np
        >>> from atrous.io import write_image
        >>> for part in ("images", "masks"):
        ...     write_image(f"data/train/{part}/a.png", np.zeros((4, 4), np.uint8))
        >>> [pair.image.name for pair in find_pairs("data")["train"]]
        ['a.png']
    """
    folder = read_folder(root)
    folder.refuse_incomplete()
    return folder.splits


def _closed_folders(root: Path) -> list[Path]:
    """List the folders in a folder that may not be entered; DataError for one that is called as a part of the data."""
    closed = []
    for folder in folders_in(root):
        try:
            os.scandir(folder).close()
        except PermissionError as error:
            if split_of(folder.name) or folder.name.lower() in (*IMAGE_FOLDERS, *MASK_FOLDERS):
                raise closed_folder(folder) from error
            closed.append(folder)
    return closed


def _no_layout(root: Path) -> DataError:
    names = sorted(child.name for child in root.iterdir() if not child.name.startswith("."))
    if not names:
        return DataError(f"{root}: an empty folder; expected {plain_pairs.EXPECTED}, give another folder")
    if parent := plain_pairs.folder_above(root):
        return DataError(f"{root}: only half of a data set; give the folder that holds images and masks, {parent}")
    if sentence := plain_pairs.half_of_pairs(root):
        return DataError(f"{root}: {sentence}")
    shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
    others = "".join(f"; {name}: {form.lacks}" for name, form in LAYOUTS.items() if name != "pairs")
    return DataError(f"{root}: no images and masks here (it holds {shown}); expected {plain_pairs.EXPECTED}{others}")
