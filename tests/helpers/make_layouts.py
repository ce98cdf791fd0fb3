"""Tiny trees of every layout: seeded, made in milliseconds with numpy and Pillow.

Each maker fills a folder and returns what `read_mask` must give: image stem -> (H, W) values. They
are the values that `Folder.labels` names, or, if the layout names no classes, those in the masks.
"""

import gzip
import json
import struct
import zlib
from base64 import b64encode
from collections.abc import Callable
from io import BytesIO
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from atrous.datasets.camvid import GROUPS, PUBLISHED
from atrous.datasets.cityscapes import IDS
from atrous.datasets.coco_stuff import RAW171
from atrous.labels import voc_palette

SIZE = (20, 28)
DRAW = 0
"""Tests set it to have other boxes and other noise in the same trees."""
Masks = dict[str, np.ndarray]


def scene(seed: int, values: list[int], size: tuple[int, int] = SIZE) -> np.ndarray:
    """Make a mask of upright boxes of the values on a ground of the first value; all occur."""
    rng = np.random.default_rng(seed + 10_000 * DRAW)
    mask = np.full(size, values[0], np.uint8)
    side = max(1, size[1] // max(1, len(values) - 1))
    for place, value in enumerate(values[1:]):
        top, height = int(rng.integers(0, size[0] // 2)), int(rng.integers(3, size[0] // 2))
        mask[top : top + height, place * side : place * side + max(1, side - 1)] = value
    return mask


def image(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Make an image of colour noise."""
    return Image.fromarray(np.random.default_rng(seed + 999 + 10_000 * DRAW).integers(0, 256, (*size, 3), np.uint8))


def save(picture: Image.Image | np.ndarray, path: Path, palette: bool = False) -> None:
    """Write a picture and make its folder. palette: with VOC's colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    if palette:
        picture.putpalette(np.array(voc_palette(), np.uint8).tobytes())
    picture.save(path)


def write_json(content: object, path: Path) -> None:
    """Write an annotation file and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def pairs(root: Path) -> Masks:
    """Plain pairs with two splits."""
    found = {}
    for number, split in enumerate(("train", "train", "val")):
        mask = found[f"p{number}"] = scene(number, [0, 1, 2])
        save(image(number), root / split / "images" / f"p{number}.png")
        save(mask, root / split / "masks" / f"p{number}.png")
    return found


def geotiff(root: Path) -> Masks:
    """Plain pairs of GeoTIFF, with scale and tie point as usual."""
    found = {}
    tags = {33550: (10.0, 10.0, 0.0), 33922: (0.0, 0.0, 0.0, 500000.0, 4000000.0, 0.0)}
    for number in range(3):
        mask = found[f"tile{number}"] = scene(number, [0, 1, 2])
        for picture, part in ((image(number), "images"), (Image.fromarray(mask), "masks")):
            (root / part).mkdir(parents=True, exist_ok=True)
            picture.save(root / part / f"tile{number}.tif", tiffinfo=tags)
    return found


def voc(root: Path) -> Masks:
    """Three names in lists, and an image without a mask that no list names."""
    found = {}
    for number, split in enumerate(("train", "train", "val")):
        name = f"2007_00000{number}"
        mask = found[name] = scene(number, [0, 1, 15, 20, 255])
        save(image(number), root / "JPEGImages" / f"{name}.jpg")
        save(mask, root / "SegmentationClass" / f"{name}.png", palette=True)
        lists = root / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True, exist_ok=True)
        with (lists / f"{split}.txt").open("a") as file:
            file.write(f"{name}\n")
    save(image(9), root / "JPEGImages" / "2007_000009.jpg")
    return found


def cityscapes(root: Path) -> Masks:
    """Ids in one city, trainIds in another; the test split is the published dummy."""
    found = {}
    for number, (split, city) in enumerate((("train", "ulm"), ("train", "bonn"), ("val", "jena"), ("test", "koeln"))):
        stem = f"{city}_000000_00000{number}"
        truth = scene(number, [255, 0, 5, 13, 18])
        save(image(number), root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png")
        ids = np.array([*IDS, *[3] * 237], np.uint8)[truth]
        folder = root / "gtFine" / split / city
        save(ids if split != "test" else np.full(SIZE, 1, np.uint8), folder / f"{stem}_gtFine_labelIds.png")
        if city == "bonn":
            save(truth, folder / f"{stem}_gtFine_labelTrainIds.png")
        if split != "test":
            found[f"{stem}_leftImg8bit"] = truth
    return found


def ade20k(root: Path) -> Masks:
    """150 classes from 1 on."""
    found = {}
    for number, (folder, part) in enumerate((("training", "train"), ("training", "train"), ("validation", "val"))):
        name = f"ADE_{part}_0000000{number}"
        mask = found[name] = scene(number, [0, 1, 75, 150])
        save(image(number), root / "images" / folder / f"{name}.jpg")
        save(mask, root / "annotations" / folder / f"{name}.png")
    return found


def camvid_colours(root: Path) -> Masks:
    """The published form: every one of the 32 colours."""
    (root).mkdir(parents=True, exist_ok=True)
    lines = [f"{red} {green} {blue}\t\t{name}" for name, (red, green, blue) in PUBLISHED.items()]
    (root / "label_colors.txt").write_text("\n".join(lines))
    colours = [colour for group in GROUPS.values() for colour in group.values()]
    classes = [value for value, group in enumerate(GROUPS.values()) for _ in group]
    found = {}
    for number in range(2):
        name = f"0001TP_00000{number}"
        index = scene(number, list(range(len(colours))), (20, 64))
        save(image(number, (20, 64)), root / "701_StillsRaw_full" / f"{name}.png")
        save(np.array(colours, np.uint8)[index], root / "LabeledApproved_full" / f"{name}_L.png")
        found[name] = np.array(classes, np.uint8)[index]
    return found


def camvid_index(root: Path) -> Masks:
    """SegNet's form: 0..10 and 11 = void."""
    found = {}
    for number, split in enumerate(("train", "val", "test")):
        mask = found[f"0006R0_f0000{number}"] = scene(number, [11, 0, 3, 10])
        save(image(number), root / split / f"0006R0_f0000{number}.png")
        save(mask, root / f"{split}annot" / f"0006R0_f0000{number}.png")
    return found


def class_dict(root: Path) -> Masks:
    """The form of Kaggle with classes of its own."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "class_dict.csv").write_text("name,r,g,b\nroad,10,20,30\nUnlabeled,0,0,0\nroof,200,0,0\n")
    colours = {0: (10, 20, 30), 1: (200, 0, 0), 255: (0, 0, 0)}
    found = {}
    for number, split in enumerate(("train", "val")):
        mask = found[f"a{number}"] = scene(number, [0, 1, 255])
        rgb = np.zeros((*SIZE, 3), np.uint8)
        for value, colour in colours.items():
            rgb[mask == value] = colour
        save(image(number), root / split / f"a{number}.png")
        save(rgb, root / f"{split}_labels" / f"a{number}_L.png")
    return found


def counts_of(mask: np.ndarray) -> list[int]:
    """Code a bool (H, W) as COCO's run lengths, straight from their definition."""
    column = mask.T.ravel().tolist()
    runs = [(value, len(list(group))) for value, group in groupby(column)]
    return [*([0] if runs[0][0] else []), *(length for _, length in runs)]


def text_of(counts: list[int]) -> str:
    """Code run lengths as COCO's compressed text, straight from its definition."""
    text = ""
    for place, count in enumerate(counts):
        rest = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            low, rest = rest & 31, rest >> 5
            more = rest != (-1 if low & 16 else 0)
            text += chr(48 + (low | 32 if more else low))
    return text


def box(left: int, top: int, right: int, bottom: int) -> list[float]:
    """Draw a polygon around the pixels left..right - 1, top..bottom - 1."""
    return [left, top, right, top, right, bottom, left, bottom]


def coco(root: Path) -> Masks:
    """Polygons of two parts, both forms of RLE, a crowd, an overlap, an empty image, a gap."""
    found = {}
    for split in ("train2017", "val2017"):
        images, annotations = [], []
        for number in range(2):
            name = f"{split}_{number}"
            mask = np.zeros(SIZE, np.uint8)
            images.append({"id": number + 7, "file_name": f"{name}.jpg", "height": SIZE[0], "width": SIZE[1]})
            save(image(number), root / split / f"{name}.jpg")
            found[name] = mask
            if number:
                continue
            crowd, blob = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
            crowd[13:, 1:12] = np.random.default_rng(number).random((SIZE[0] - 13, 11)) < 0.7
            blob[0:5, 3:6] = True
            small, large = box(10, 4, 13, 9), box(8, 2, 20, 12)
            mask[crowd] = 2
            mask[blob] = 1
            mask[2:12, 8:20] = 2
            mask[4:9, 10:13] = mask[15:18, 22:26] = 3
            places = [
                (90, [small, box(22, 15, 26, 18)]),
                (5, [large]),
                (5, {"counts": counts_of(crowd), "size": list(SIZE)}),
                (1, {"counts": text_of(counts_of(blob)), "size": list(SIZE)}),
            ]
            annotations += [
                {"id": id, "image_id": 7, "category_id": category, "segmentation": outline, "iscrowd": 0, "area": 0}
                for id, (category, outline) in enumerate(places)
            ]
        categories = [{"id": id, "name": name} for id, name in ((90, "brush"), (1, "person"), (5, "plane"))]
        content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
        write_json(content, root / "annotations" / f"instances_{split}.json")
        write_json({"info": {}, "annotations": []}, root / "annotations" / f"captions_{split}.json")
    return found


def coco_stuff(root: Path) -> Masks:
    """Raw ids minus one."""
    found = {}
    for number, split in enumerate(("train2017", "val2017")):
        mask = found[f"00000000000{number}"] = scene(number, [RAW171.values[place] for place in (170, 0, 79, 80)])
        mask[0, 0] = 255
        save(image(number), root / split / f"00000000000{number}.jpg")
        save(mask, root / "stuffthingmaps_trainval2017" / split / f"00000000000{number}.png")
    return found


def coco_stuff_train_ids(root: Path) -> Masks:
    """The form of mmsegmentation: raw masks beside masks of trainIds."""
    found = {}
    for number, split in enumerate(("train2017", "val2017")):
        index = scene(number, [170, 0, 79, 80])
        found[f"00000000000{number}"] = index
        save(image(number), root / "images" / split / f"00000000000{number}.jpg")
        folder = root / "annotations" / split
        save(np.array(RAW171.values, np.uint8)[index], folder / f"00000000000{number}.png")
        save(index, folder / f"00000000000{number}_labelTrainIds.png")
    return found


def cvat(root: Path) -> Masks:
    """Masks of colours, one with a palette in another order; a name with a subfolder."""
    colours = {"background": (0, 0, 0), "cat": (250, 50, 83), "dog eared": (42, 125, 209)}
    root.mkdir(parents=True, exist_ok=True)
    lines = [f"{name}:{red},{green},{blue}::" for name, (red, green, blue) in colours.items()]
    (root / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *lines, ""]))
    table = np.array(list(colours.values()), np.uint8)
    found = {}
    for number, name in enumerate(("a", "sub/b", "c.v2")):
        mask = found[name.rpartition("/")[2]] = scene(number, [0, 1, 2])
        save(image(number), root / "JPEGImages" / f"{name}.jpg")
        path = root / "SegmentationClass" / f"{name}.png"
        if number:
            save(table[mask], path)
        else:
            path.parent.mkdir(parents=True)
            picture = Image.fromarray(2 - mask)
            picture.putpalette(table[::-1].tobytes())
            picture.save(path)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "default.txt").write_text("a\nsub/b\nc.v2\n")
    return found


def roboflow(root: Path) -> Masks:
    """Image and mask side by side."""
    found = {}
    for number, split in enumerate(("train", "valid", "test")):
        stem = f"a{number}_jpg.rf.01{number}"
        mask = found[stem] = scene(number, [0, 1, 2])
        save(image(number), root / split / f"{stem}.jpg")
        save(mask, root / split / f"{stem}_mask.png")
        (root / split / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, cat\n2, dog\n")
    return found


def pack_brush(alpha: np.ndarray) -> list[int]:
    """Pack an alpha channel (H, W) as Label Studio does.

    Runs of equal values are repeated words, single values stand in literal runs.
    """
    values = np.repeat(alpha.ravel(), 4).tolist()
    sizes = [3, 4, 8, 16]
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    place = 0
    while place < len(values):
        end = place
        while end < len(values) and values[end] == values[place] and end - place < 2**16:
            end += 1
        which = next(k for k, size in enumerate(sizes) if end - place <= 2**size)
        literal = end - place == 4  # one pixel: written word by word
        bits += f"{0 if literal else 1}{which:02b}{end - place - 1:0{sizes[which]}b}"
        bits += "".join(f"{value:08b}" for value in (values[place:end] if literal else values[place : place + 1]))
        place = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


def label_studio(root: Path) -> Masks:
    """A soft brush, a polygon, a rectangle; a cancelled annotation, a task without one."""
    height, width = SIZE
    size = {"original_height": height, "original_width": width}
    alpha = np.zeros(SIZE, np.uint8)
    alpha[3:9, 2:8] = 255
    alpha[5, 8], alpha[6, 8] = 128, 127
    mask = np.zeros(SIZE, np.uint8)
    mask[alpha >= 128] = 1
    mask[2:6, 14:21] = 2
    mask[10:15, 7:14] = 1
    per_cent = [[14 / 28 * 100, 10], [75, 10], [75, 30], [50, 30]]
    results = [
        {"id": "x", "type": "brushlabels", **size,
         "value": {"format": "rle", "rle": pack_brush(alpha), "brushlabels": ["cat"]}},
        {"id": "y", "type": "polygonlabels", **size, "value": {"points": per_cent, "polygonlabels": ["dog"]}},
        {"id": "z", "type": "rectangle", **size,
         "value": {"x": 25, "y": 50, "width": 25, "height": 25, "rotation": 0}},
        {"id": "z", "type": "labels", **size,
         "value": {"x": 25, "y": 50, "width": 25, "height": 25, "rotation": 0, "labels": ["cat"]}},
    ]  # fmt: skip
    tasks = [
        {"id": 1, "annotations": [{"was_cancelled": True, "result": results[:1]}, {"result": results}],
         "data": {"image": "/data/upload/1/0a1b2c3d-a%20b.jpg"}},
        {"id": 2, "annotations": [{"result": []}], "data": {"image": "/data/local-files/?d=photos/plain.png"}},
        {"id": 3, "annotations": [], "data": {"image": "/data/upload/1/0a1b2c3d-none.jpg"}},
    ]  # fmt: skip
    write_json(tasks, root / "project-1.json")
    save(image(0), root / "images" / "a b.jpg")
    save(image(1), root / "images" / "plain.png")
    return {"a b": mask, "plain": np.zeros(SIZE, np.uint8)}


def label_studio_png(root: Path) -> Masks:
    """Two brushes of one label that overlap, a soft one, a label with a hyphen; a task without brushes."""
    masks = {"a b": np.zeros(SIZE, np.uint8), "c": np.zeros(SIZE, np.uint8)}
    brushes = {
        ("a b", 3, "road-side", 0): np.s_[2:9, 3:12], ("a b", 3, "road-side", 1): np.s_[5:12, 8:20],
        ("a b", 3, "tree", 0): np.s_[14:18, :9], ("c", 12, "tree", 0): np.s_[:6],
    }  # fmt: skip
    for (stem, task, label, number), place in brushes.items():
        brush = np.zeros(SIZE, np.uint8)
        brush[place] = 255
        brush[-1, -1] = 127  # less than half opaque
        masks[stem][place] = ("road-side", "tree").index(label) + 1
        save(brush, root / "masks" / f"task-{task}-annotation-7-by-me@my-firm.org-tag-{label}-{number}.png")
    names = {3: "0a1b2c3d-a%20b.jpg", 12: "c.jpg", 13: "d.jpg"}
    tasks = [{"id": task, "data": {"image": f"/data/upload/1/{name}"}} for task, name in names.items()]
    write_json(tasks, root / "tasks.json")
    save(image(0), root / "images" / "0a1b2c3d-a b.jpg")
    save(image(1), root / "images" / "c.jpg")
    return {"0a1b2c3d-a b": masks["a b"], "c": masks["c"]}


def shape(label: str, points: list[list[float]], kind: str | None = "polygon") -> dict[str, object]:
    """Make a shape as labelme writes it."""
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}}


def labelme(root: Path) -> Masks:
    """Rectangles with known outline and inside; a shape on top; ignored pixels; Windows' paths."""
    found = {}
    for number, split in enumerate(("train", "val")):
        mask = np.zeros(SIZE, np.uint8)
        mask[2:9, 3:13] = 2
        mask[5:12, 8:21] = 1
        mask[15:18, 20:24] = 255
        mask[0, 0] = 0
        shapes = [
            shape("dog", [[12, 8], [3, 2]], "rectangle"),
            shape("cat", [[8, 5], [20, 5], [20, 11], [8, 11]], None),
            shape("__ignore__", [[20, 15], [23, 17]], "rectangle"),
            shape("_background_", [[0, 0], [0, 0]], "rectangle"),
        ]
        content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"..\\{split}\\a{number}.jpg",
                   "imageData": None, "imageHeight": SIZE[0], "imageWidth": SIZE[1]}  # fmt: skip
        write_json(content, root / split / f"a{number}.json")
        save(image(number), root / split / f"a{number}.jpg")
        found[f"a{number}"] = mask
    save(image(8), root / "train" / "not_yet.jpg")
    return found


def nnunet(root: Path) -> Masks:
    """Two channels, each in its own file; an ignored class; a test split with labels."""
    content = {"channel_names": {"0": "red", "1": "infrared"}, "labels": {"background": 0, "cell": 1, "ignore": 2},
               "numTraining": 2, "file_ending": ".png"}  # fmt: skip
    write_json(content, root / "dataset.json")
    found = {}
    for number, part in enumerate(("Tr", "Tr", "Ts")):
        mask = found[f"case_{number}_0000"] = scene(number, [0, 1, 2])
        for channel in range(2):
            picture = image(10 * number + channel).convert("L")
            save(picture, root / f"images{part}" / f"case_{number}_000{channel}.png")
        save(mask, root / f"labels{part}" / f"case_{number}.png")
    return found


def write_nifti(path: Path, volume: np.ndarray) -> None:
    """Write a NIfTI-1 file of uint8 or int16 (D, H, W) or (C, D, H, W); voxels are 1 x 2 x 3 mm.

    It is compressed if its name ends in .gz.
    """
    header = bytearray(352)
    sizes = volume.shape[::-1]
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, len(sizes), *sizes, *[1] * (7 - len(sizes)))
    struct.pack_into("<2h", header, 70, *{"uint8": (2, 8), "int16": (4, 16)}[volume.dtype.name])
    struct.pack_into("<8f", header, 76, 1, 1, 2, 3, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352, 1, 0)  # where the voxels are, slope, intercept
    header[123] = 2  # millimetres
    header[344:348] = b"n+1\0"
    content = bytes(header) + volume.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def volume(seed: int, values: list[int]) -> np.ndarray:
    """Make labels (4, 20, 28) that change from slice to slice."""
    return np.stack([scene(10 * seed + number, values) for number in range(4)])


def decathlon(root: Path) -> Masks:
    """Two modalities in one file, and a test image without labels."""
    listed, found = [], {}
    for number in range(2):
        name = f"prostate_{number:02}.nii.gz"
        rng = np.random.default_rng(number)
        write_nifti(root / "imagesTr" / name, rng.integers(-900, 900, (2, 4, *SIZE)).astype(np.int16))
        found[f"prostate_{number:02}.nii"] = volume(number, [0, 1, 2])
        write_nifti(root / "labelsTr" / name, found[f"prostate_{number:02}.nii"])
        listed.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    content = {"name": "Prostate", "modality": {"0": "T2", "1": "ADC"}, "training": listed,
               "labels": {"0": "background", "1": "PZ", "2": "TZ"}, "test": ["./imagesTs/p.nii.gz"]}  # fmt: skip
    write_json(content, root / "dataset.json")
    return found


def nnunet_volumes(root: Path) -> Masks:
    """Two channels, each in its own file."""
    found = {}
    content = {"channel_names": {"0": "CT", "1": "PET"}, "labels": {"background": 0, "liver": 1, "tumour": 2},
               "numTraining": 2, "file_ending": ".nii.gz"}  # fmt: skip
    write_json(content, root / "dataset.json")
    for number in range(2):
        for channel in range(2):
            values = np.random.default_rng(2 * number + channel).integers(-900, 900, (4, *SIZE)).astype(np.int16)
            write_nifti(root / "imagesTr" / f"case_{number}_000{channel}.nii.gz", values)
        found[f"case_{number}_0000.nii"] = volume(number, [0, 1, 2])
        write_nifti(root / "labelsTr" / f"case_{number}.nii.gz", found[f"case_{number}_0000.nii"])
    return found


def yolo(root: Path) -> Masks:
    """Two splits, a class that covers another one, and a file without a line."""
    found = {}
    (root / "data.yaml").parent.mkdir(parents=True, exist_ok=True)
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]\n")
    for number, split in enumerate(("train", "train", "val")):
        save(image(number), root / "images" / split / f"y{number}.png")
        mask = found[f"y{number}"] = np.zeros(SIZE, np.uint8)
        lines = []
        for value, (left, top, right, bottom) in ((2, (7, 5, 14, 10)), (1, (0, 0, 21, 15)))[: 2 - number // 2 * 2]:
            mask[top:bottom, left:right] = np.where(mask[top:bottom, left:right], mask[top:bottom, left:right], value)
            corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
            places = " ".join(f"{x / SIZE[1]:.6f} {y / SIZE[0]:.6f}" for x, y in corners)
            lines.append(f"{value - 1} {places}")
        (root / "labels" / split).mkdir(parents=True, exist_ok=True)
        (root / "labels" / split / f"y{number}.txt").write_text("\n".join(lines))
    return found


def cvat_xml(root: Path) -> Masks:
    """A polygon, a mask and a box; z_order puts the polygon on top."""
    shapes = (
        '<polygon label="dog" points="3,4;13,4;13,14;3,14" z_order="2"/>'
        '<mask label="cat" rle="2, 3, 1, 6" left="10" top="6" width="4" height="3" z_order="0"/>'
        '<box label="cat" xtl="0" ytl="16" xbr="28" ybr="20" z_order="1"/>'
    )
    text = "<version>1.1</version><meta><task><labels><label><name>cat</name></label><label><name>dog</name></label>"
    text += "</labels></task></meta>"
    found = {}
    for number, subset in enumerate(("Train", "Validation")):
        save(image(number), root / "images" / subset / f"c{number}.png")
        text += f'<image id="{number}" name="c{number}.png" subset="{subset}" width="28" height="20">{shapes}</image>'
        mask = found[f"c{number}"] = np.zeros(SIZE, np.uint8)
        mask[6:9, 10:14] = np.array([[0, 0, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1]])
        mask[16:20] = 1
        mask[4:14, 3:13] = 2
    (root / "annotations.xml").write_text(f'<?xml version="1.0" encoding="utf-8"?><annotations>{text}</annotations>')
    return found


def via(root: Path) -> Masks:
    """A polygon below a rectangle; regions in a list and in a dictionary."""
    found = {}
    for number, split in enumerate(("train", "val")):
        save(image(number), root / split / f"v{number}.jpg")
        regions = [
            {"shape_attributes": {"name": "polygon", "all_points_x": [2, 20, 20, 2], "all_points_y": [3, 3, 9, 9]},
             "region_attributes": {"kind": "dog"}},
            {"shape_attributes": {"name": "rect", "x": 5, "y": 6, "width": 4, "height": 9},
             "region_attributes": {"kind": {"cat": True, "dog": False}}},
        ]  # fmt: skip
        content = regions if number else dict(enumerate(regions))
        entry = {"filename": f"v{number}.jpg", "size": 99, "regions": content, "file_attributes": {}}
        write_json({f"v{number}.jpg99": entry}, root / split / "via_region_data.json")
        mask = found[f"v{number}"] = np.zeros(SIZE, np.uint8)
        mask[3:9, 2:20] = 2
        mask[6:15, 5:9] = 1
    return found


def packed(part: np.ndarray) -> str:
    """Pack a bool mask as Supervisely does: base64 of zlib of a PNG with alpha."""
    stream = BytesIO()
    Image.fromarray(np.repeat(part[..., None] * np.uint8(255), 4, axis=2)).save(stream, "PNG")
    return b64encode(zlib.compress(stream.getvalue())).decode()


def supervisely(root: Path) -> Masks:
    """A polygon with a hole below a bitmap."""
    write_json({"classes": [{"title": "dog", "shape": "any"}, {"title": "cat", "shape": "any"}]}, root / "meta.json")
    found = {}
    for number, split in enumerate(("train", "val")):
        part = np.random.default_rng(number).random((6, 5)) < 0.5
        objects = [
            {"classTitle": "dog", "geometryType": "polygon", "points": {
                "exterior": [[2, 3], [20, 3], [20, 15], [2, 15]], "interior": [[[4, 5], [8, 5], [8, 9], [4, 9]]]}},
            {"classTitle": "cat", "geometryType": "bitmap", "bitmap": {"data": packed(part), "origin": [15, 10]}},
        ]  # fmt: skip
        save(image(number), root / split / "img" / f"s{number}.png")
        content = {"size": {"height": 20, "width": 28}, "tags": [], "objects": objects}
        write_json(content, root / split / "ann" / f"s{number}.png.json")
        mask = found[f"s{number}"] = np.zeros(SIZE, np.uint8)
        mask[3:15, 2:20] = 1
        mask[5:9, 4:8] = 0
        mask[10:16, 15:20][part] = 2
    return found


def darwin(root: Path) -> Masks:
    """Two paths of one polygon, of which one is a hole."""
    found = {}
    for number, split in enumerate(("train", "val")):
        paths = [[{"x": x, "y": y} for x, y in zip(outline[::2], outline[1::2], strict=True)]
                 for outline in (box(2, 3, 20, 15), box(4, 5, 8, 9))]  # fmt: skip
        drawn = [{"name": "dog", "polygon": {"paths": paths}}, {"name": "cat", "polygon": {"paths": paths[1:]}}]
        item = {"name": f"d{number}.png", "path": f"/{split}", "slots": [{"width": 28, "height": 20}]}
        save(image(number), root / "images" / split / f"d{number}.png")
        write_json({"version": "2.0", "item": item, "annotations": [*drawn[: 2 - number], {"name": "x", "tag": {}}]},
                   root / "releases" / split / f"d{number}.json")  # fmt: skip
        mask = found[f"d{number}"] = np.zeros(SIZE, np.uint8)
        mask[3:15, 2:20] = 2
        mask[5:9, 4:8] = 1 - number
    return found


def class_folders(root: Path) -> Masks:
    """A folder for each class; one image lacks one of them."""
    found = {}
    for number in range(3):
        mask = found[f"k{number}"] = scene(number, [0, 1, 2][: 3 - number // 2])
        save(image(number), root / "images" / f"k{number}.png")
        for value, name in ((1, "road"), (2, "tree")):
            if value in mask:
                save((mask == value) * np.uint8(255 if value > 1 else 1), root / "masks" / name / f"k{number}.png")
    return found


def class_endings(root: Path) -> Masks:
    """The class at the end of the name of each mask."""
    found = {}
    for number, split in enumerate(("train", "train", "val")):
        mask = found[f"k_{number}"] = scene(number, [0, 1, 2])
        save(image(number), root / split / "images" / f"k_{number}.jpg")
        for value, name in ((1, "road"), (2, "tree")):
            save((mask == value) * np.uint8(255), root / split / "masks" / f"k_{number}_{name}.png")
    return found


def stacks(root: Path) -> Masks:
    """ISBI's names, six pages; the test stack has no labels."""
    found = {f"train-volume_{number:03d}": scene(number, [0, 1, 2]) for number in range(1, 7)}
    pages = {"volume": [image(number).convert("L") for number in range(6)]}
    pages["labels"] = [Image.fromarray(mask) for mask in found.values()]
    root.mkdir(exist_ok=True)
    for name, (first, *rest) in pages.items():
        first.save(root / f"train-{name}.tif", save_all=True, append_images=rest)
    pages["volume"][0].save(root / "test-volume.tif", save_all=True, append_images=pages["volume"][1:3])
    return found


MAKERS: dict[str, tuple[str, Callable[[Path], Masks]]] = {
    "pairs": ("pairs", pairs),
    "geotiff": ("geotiff", geotiff),
    "voc": ("voc", voc),
    "cityscapes": ("cityscapes", cityscapes),
    "ade20k": ("ade20k", ade20k),
    "camvid, colours": ("camvid", camvid_colours),
    "camvid, index": ("camvid", camvid_index),
    "class_dict.csv": ("camvid", class_dict),
    "coco": ("coco", coco),
    "coco-stuff": ("coco_stuff", coco_stuff),
    "coco-stuff, trainIds": ("coco_stuff", coco_stuff_train_ids),
    "cvat": ("cvat", cvat),
    "roboflow": ("roboflow", roboflow),
    "label studio": ("label_studio", label_studio),
    "label studio, brushes": ("label_studio_png", label_studio_png),
    "labelme": ("labelme", labelme),
    "nnunet": ("nnunet", nnunet),
    "yolo": ("yolo", yolo),
    "cvat, xml": ("cvat_xml", cvat_xml),
    "via": ("via", via),
    "supervisely": ("supervisely", supervisely),
    "darwin": ("darwin", darwin),
    "stacks": ("stacks", stacks),
    "class folders": ("class_masks", class_folders),
    "class endings": ("class_masks", class_endings),
}
"""Name of a tree -> (its layout, its maker)."""
