"""Folders with faults: what is reported, what is refused, and with which sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_layouts import MAKERS, SIZE, box, image, save, scene, shape, write_json
from PIL import Image

from atrous.datasets import open_dataset, read_folder
from atrous.errors import DataError


def change(path: Path, edit: Callable[[Any], object]) -> None:
    """Edit a JSON file."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "made, missing, message",
    [
        ("voc", "SegmentationClass/2007_000001.png", r"1 image \(2007_000001.jpg\) without a mask"),
        ("voc", "JPEGImages/2007_000001.jpg", r"1 mask \(2007_000001.png\) without an image"),
        ("cityscapes", "gtFine/train/ulm/ulm_000000_000000_gtFine_labelIds.png", r"1 image .* without a mask"),
        ("cityscapes", "leftImg8bit/train/ulm/ulm_000000_000000_leftImg8bit.png", r"1 mask .* without an image"),
        ("ade20k", "annotations/validation/ADE_val_00000002.png", r"validation: no masks in this folder"),
        ("camvid, index", "trainannot/0006R0_f00000.png", r"1 image \(0006R0_f00000.png\) without a mask"),
        (
            "coco",
            "train2017/train2017_1.jpg",
            r"instances_train2017.json: 1 of its images \(train2017_1.jpg\) are not in ",
        ),
        ("coco-stuff", "train2017/000000000000.jpg", r"1 mask \(000000000000.png\) without an image"),
        ("cvat", "SegmentationClass/sub/b.png", r"1 image \(b.jpg\) without a mask"),
        ("roboflow", "valid/a1_jpg.rf.011_mask.png", r"1 image \(a1_jpg.rf.011.jpg\) without a mask"),
        ("label studio", "images/a b.jpg", r"task 1 names 0a1b2c3d-a b.jpg or a b.jpg, which is not below"),
        ("labelme", "train/a0.jpg", r"1 mask \(a0.json\) without an image"),
        ("nnunet", "labelsTr/case_1.png", r"1 image \(case_1_0000.png\) without a mask"),
        ("nnunet", "imagesTr/case_1_0001.png", r"case_1_0000.png: 1 channels"),
    ],
)
def test_a_missing_file_is_left_to_be_reported_and_refused_for_training(
    tmp_path: Path, made: str, missing: str, message: str
) -> None:
    MAKERS[made][1](tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path).verify()


@pytest.mark.parametrize(
    "made, file", [("coco", "annotations/instances_val2017.json"), ("label studio", "project-1.json"),
                   ("labelme", "val/a1.json"), ("nnunet", "dataset.json")],
)  # fmt: skip
def test_a_damaged_annotation_file_is_named(tmp_path: Path, made: str, file: str) -> None:
    MAKERS[made][1](tmp_path)
    path = tmp_path / file
    path.write_text(path.read_text()[:-9])
    with pytest.raises(DataError, match=rf"{path.name}: not a JSON file \(.*\); export it again"):
        read_folder(tmp_path)


def without_labels(content: dict[str, Any]) -> None:
    content["annotations"] = []


def wrong_length(content: dict[str, Any]) -> None:
    content["annotations"][2]["segmentation"]["counts"][-1] += 3


def wrong_size(content: dict[str, Any]) -> None:
    content["annotations"][2]["segmentation"]["size"] = [9, 9]


def cut_text(content: dict[str, Any]) -> None:
    content["annotations"][3]["segmentation"]["counts"] += "o"


def outside(content: dict[str, Any]) -> None:
    content["annotations"][0]["segmentation"] = [box(40, 4, 60, 9)]


def far_outside(content: dict[str, Any]) -> None:
    content["annotations"][0]["segmentation"] = [[0, 0, 5, 5, 90000, 9]]


def odd_outline(content: dict[str, Any]) -> None:
    content["annotations"][0]["segmentation"] = [[1, 2, 3, 4, 5, 6, 7]]


def unknown_category(content: dict[str, Any]) -> None:
    content["annotations"][0]["category_id"] = 77


def unknown_image(content: dict[str, Any]) -> None:
    content["annotations"][0]["image_id"] = 12


def boxes_alone(content: dict[str, Any]) -> None:
    for entry in content["annotations"]:
        entry["segmentation"] = []


def no_size(content: dict[str, Any]) -> None:
    content["images"][0].pop("height")


def bomb(content: dict[str, Any]) -> None:
    content["images"][0]["height"] = 10**9


def no_section(content: dict[str, Any]) -> None:
    content.pop("annotations")


def panoptic(content: dict[str, Any]) -> None:
    content["annotations"] = [{"segments_info": [], "image_id": 7}]


@pytest.mark.parametrize(
    "damage, message",
    [
        (wrong_length, r"image train2017_0.jpg\): annotation 2: the RLE has 563 pixels, its image 20 x 28 = 560"),
        (wrong_size, r"annotation 2 of train2017_0.jpg: its RLE has 9 x 9 pixels, the image 20 x 28"),
        (cut_text, r"annotation 3: the RLE text is cut short"),
        (outside, r"annotation 0 of train2017_0.jpg: its outline lies outside the image, 20 x 28 pixels"),
        (far_outside, r"train2017_0.jpg\): annotation 0: a point at x 90000, y 9, far outside"),
        (
            odd_outline,
            r"annotation 0: an outline of 7 numbers; expected an even number, x, y pairs; correct or delete it",
        ),
        (unknown_category, r"annotation 0 has the category 77, expected one of 1, 5, 90"),
        (unknown_image, r"annotation 0 belongs to image 12, which is not listed"),
        (boxes_alone, r"all 4 annotations are boxes; expected outlines"),
        (no_size, r"train2017_0.jpg\): an image of None x 28 pixels; expected its height and width"),
        (bomb, r"an image of 1000000000 x 28 pixels"),
        (no_section, r"not COCO's annotations; expected the lists images, annotations and categories"),
        (panoptic, r"panoptic annotations, which cannot be read"),
    ],
)
def test_coco_annotations_that_do_not_fit(tmp_path: Path, damage: Callable[[Any], None], message: str) -> None:
    MAKERS["coco"][1](tmp_path)
    change(tmp_path / "annotations" / "instances_train2017.json", damage)
    with pytest.raises(DataError, match=rf"instances_train2017.json.*{message}"):
        open_dataset(tmp_path).verify()


def test_coco_faults_do_not_hide_one_another(tmp_path: Path) -> None:
    MAKERS["coco"][1](tmp_path)
    file = tmp_path / "annotations" / "instances_train2017.json"
    change(file, unknown_category)
    change(file, lambda content: content["annotations"][1].update(image_id=99))
    folder = read_folder(tmp_path)
    assert [path for path, _ in folder.faults] == [file, file]
    with pytest.raises(DataError, match=r"\(1 more faults"):
        folder.refuse_incomplete()


def test_roboflows_coco_export_has_a_parent_category_of_no_object(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "animals", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "animals"},
    ]
    for split in ("train", "valid"):
        entry = {"id": 0, "file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1]}
        drawn = {"id": 0, "image_id": 0, "category_id": 1, "segmentation": [box(2, 3, 9, 8)]}
        content = {"info": {}, "images": [entry], "annotations": [drawn], "categories": categories}
        write_json(content, tmp_path / split / "_annotations.coco.json")
        save(image(1), tmp_path / split / "a.jpg")
    folder = read_folder(tmp_path)
    assert (folder.layout, list(folder.splits)) == ("coco", ["train", "val"])
    assert folder.labels is not None
    assert folder.labels.names == ("background", "cat")
    expected = np.zeros(SIZE, np.uint8)
    expected[3:8, 2:9] = 1
    np.testing.assert_array_equal(folder.read_mask(folder.pairs[1]), expected)


def test_cvats_coco_export_and_a_category_called_background(tmp_path: Path) -> None:
    categories = [{"id": 3, "name": "Background"}, {"id": 1, "name": "cat"}]
    entry = {"id": 1, "file_name": "sub/a.jpg", "height": SIZE[0], "width": SIZE[1]}
    drawn = [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [box(2, 3, 9, 8)]},
             {"id": 2, "image_id": 1, "category_id": 3, "segmentation": [box(4, 4, 6, 6)]}]  # fmt: skip
    content = {"licenses": [], "images": [entry], "annotations": drawn, "categories": categories}
    write_json(content, tmp_path / "annotations" / "instances_default.json")
    save(image(1), tmp_path / "images" / "sub" / "a.jpg")
    folder = read_folder(tmp_path)
    assert folder.labels is not None
    assert (folder.labels.names, list(folder.splits)) == (("Background", "cat"), ["all"])
    mask = folder.read_mask(folder.pairs[0])
    assert (int(mask.sum()), int(mask[4:6, 4:6].sum())) == (35 - 4, 0)


def test_cityscapes_shows_values_that_are_no_ids(tmp_path: Path) -> None:
    MAKERS["cityscapes"][1](tmp_path)
    path = tmp_path / "gtFine" / "train" / "ulm" / "ulm_000000_000000_gtFine_labelIds.png"
    values = np.array(Image.open(path))
    values[0, :5] = 77
    Image.fromarray(values).save(path)
    with pytest.raises(DataError, match=r"labelIds.png: value 77 is out of range \(5 pixels"):
        open_dataset(tmp_path).verify()


@pytest.mark.parametrize("made", ["camvid, colours", "class_dict.csv", "cvat"])
def test_a_colour_outside_of_the_table_is_named_with_the_nearest(tmp_path: Path, made: str) -> None:
    MAKERS[made][1](tmp_path)
    folder = read_folder(tmp_path)
    path = folder.pairs[-1].mask
    rgb = np.array(Image.open(path).convert("RGB"))
    rgb[0, :3] = [1, 2, 3]
    Image.fromarray(rgb).save(path)
    message = r": the colour \(1, 2, 3\) in 3 pixels is not in the table of .*; the nearest is \(0, 0, 0\)"
    with pytest.raises(DataError, match=path.name + message):
        folder.read_mask(folder.pairs[-1])


@pytest.mark.parametrize(
    "text, message",
    [
        ("background:0,0,0::\n", r"fewer than 2 labels \(1\); add lines"),
        ("background:0,0,0::\ncat:0,0::\n", "'cat:0,0::' is not a label; expected name:red,green,blue::"),
        ("a:0,0,0::\nb:0,0,0::\n", r"'a' and 'b' share the colour \(0, 0, 0\)"),
    ],
)
def test_a_labelmap_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    MAKERS["cvat"][1](tmp_path)
    (tmp_path / "labelmap.txt").write_text(text)
    with pytest.raises(DataError, match=f"labelmap.txt: {message}"):
        read_folder(tmp_path)


def test_cvat_without_its_images_says_what_to_do(tmp_path: Path) -> None:
    MAKERS["cvat"][1](tmp_path)
    (tmp_path / "JPEGImages").rename(tmp_path / "photos")
    with pytest.raises(DataError, match=r"JPEGImages: no such folder; expected the images, export with `save images`"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "text, message",
    [
        ("Pixel Value, Class\n0, background\n", r"fewer than 2 classes \(1\); add lines"),
        ("Pixel Value, Class\n0, background\nx, cat\n", "not a table of classes"),
        ("Pixel Value, Class\n0, background\n1, cow\n2, dog\n", "other classes than"),
    ],
)
def test_a_table_of_classes_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    MAKERS["roboflow"][1](tmp_path)
    (tmp_path / "valid" / "_classes.csv").write_text(text)
    with pytest.raises(DataError, match=f"_classes.csv: {message}"):
        read_folder(tmp_path)


def test_a_name_that_voc_lists_in_vain(tmp_path: Path) -> None:
    MAKERS["voc"][1](tmp_path)
    lists = tmp_path / "ImageSets" / "Segmentation"
    (lists / "val.txt").write_text("2007_000002\n2007_000077\n")
    (lists / "test.txt").write_text("2007_000009\n")
    folder = read_folder(tmp_path)
    assert folder.faults == [
        (lists / "val.txt", "names '2007_000077', which has neither image nor mask; delete the name")
    ]
    assert list(folder.splits) == ["train", "val"]
    assert any("test.txt" in note for note in folder.notes)


def test_vocs_form_with_other_names_has_the_classes_of_its_masks_or_of_its_list(tmp_path: Path) -> None:
    for number in range(2):
        save(image(number), tmp_path / "JPEGImages" / f"a{number}.jpg")
        save(scene(number, [0, 1, 2, 255]), tmp_path / "SegmentationClass" / f"a{number}.png", palette=True)
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "trainval.txt").write_text("a0\na1\n")
    data = open_dataset(tmp_path, holdout=0)
    assert (data.labels.names, list(data.splits)) == (("class 0", "class 1", "class 2"), ["train"])
    (tmp_path / "class_names.txt").write_text("__ignore__\n_background_\ncat\ndog\n")
    assert open_dataset(tmp_path).labels.names == ("background", "cat", "dog")


@pytest.mark.parametrize(
    "drawn, message",
    [
        (
            shape("cow", [[1, 1], [5, 5], [5, 1]]),
            r"shape 0 has the label 'cow', known: .*cat, dog; correct it or add",
        ),
        (shape("cats", [[1, 1], [5, 5], [5, 1]]), r"shape 0 has the label 'cats', did you mean 'cat'\?"),
        (shape("cat", [[1, 1], [5, 5]]), r"shape 0 \(cat\) is a polygon with 2 points; draw it again"),
        (shape("cat", [[1, 1], [5, 5]], "cube"), r"shape 0 is a 'cube', known: circle"),
        (shape("cat", [[90, 1], [95, 5], [95, 1]]), r"shape 0 \(cat\) lies outside the image"),
        ({"label": "cat"}, r"shape 0 has no label or points \('points'\)"),
        ("cat", r"shape 0 has no label or points"),
        ({**shape("cat", [[1, 1], [5, 5]], "mask"), "mask": "bm8="}, r"shape 0 \(cat\): .*draw it again"),
    ],
)
def test_labelme_shapes_that_do_not_fit(tmp_path: Path, drawn: object, message: str) -> None:
    MAKERS["labelme"][1](tmp_path)
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\ndog\ncat\n")
    assert open_dataset(tmp_path).labels.names == ("background", "dog", "cat")
    change(tmp_path / "val" / "a1.json", lambda content: content["shapes"].insert(0, drawn))
    with pytest.raises(DataError, match=rf"a1.json: {message}"):
        open_dataset(tmp_path).verify()


def test_every_shape_of_labelme(tmp_path: Path) -> None:
    """Discs and lines are right to half a pixel, a pasted mask is exact."""
    from base64 import b64encode
    from io import BytesIO

    patch = np.random.default_rng(0).random((6, 5)) < 0.5
    stream = BytesIO()
    Image.fromarray(patch).save(stream, "PNG")
    shapes = [
        shape("circle", [[20, 20], [20, 28]], "circle"),
        shape("line", [[50, 20], [90, 20]], "line"),
        shape("strip", [[50, 40], [70, 40], [90, 40]], "linestrip"),
        shape("point", [[20, 50]], "point"),
        shape("turned", [[50, 60], [70, 50], [75, 60], [55, 70]], "oriented_rectangle"),
        {**shape("mask", [[96, 75], [100, 80]], "mask"), "mask": b64encode(stream.getvalue()).decode()},
    ]
    write_json({"shapes": shapes, "imagePath": "a.png", "imageHeight": None}, tmp_path / "a.json")
    save(image(0, (80, 100)), tmp_path / "a.png")
    folder = read_folder(tmp_path)
    assert folder.labels is not None
    value = {name: place for place, name in enumerate(folder.labels.names)}
    mask = folder.read_mask(folder.pairs[0])
    y, x = np.indices(mask.shape)
    for name, centre, radius in (("circle", (20, 20), 8), ("point", (20, 50), 5)):
        distance = np.hypot(x - centre[0], y - centre[1])
        assert (mask[distance < radius - 0.5] == value[name]).all()
        assert (mask[(distance > radius + 1) & (distance < radius + 8)] != value[name]).all()
    for name, row in (("line", 20), ("strip", 40)):
        found = np.argwhere(mask == value[name])
        assert found[:, 1].min() == 50
        assert found[:, 1].max() == 90
        assert 9 <= np.ptp(found[:, 0]) + 1 <= 11
        assert abs(found[:, 0].mean() - row) <= 0.5
    assert abs(int((mask == value["turned"]).sum()) - 300) < 60
    np.testing.assert_array_equal(mask[75:80, 96:100] == value["mask"], patch[:5, :4])


def test_labelme_files_beside_finished_masks_are_not_the_labels(tmp_path: Path) -> None:
    MAKERS["pairs"][1](tmp_path)
    content = {"shapes": [shape("cat", [[1, 1], [5, 5], [5, 1]])], "imagePath": "p0.png"}
    write_json(content, tmp_path / "train" / "images" / "p0.json")
    assert read_folder(tmp_path).layout == "pairs"


def test_label_studio_turned_rectangles_and_ellipses(tmp_path: Path) -> None:
    size = {"original_height": 40, "original_width": 60}
    results = [
        {"type": "rectanglelabels", "id": "r", **size,
         "value": {"x": 50, "y": 0, "width": 20, "height": 25, "rotation": 90, "rectanglelabels": ["box"]}},
        {"type": "ellipselabels", "id": "e", **size,
         "value": {"x": 75, "y": 75, "radiusX": 10, "radiusY": 10, "rotation": 90, "ellipselabels": ["egg"]}},
    ]  # fmt: skip
    write_json([{"id": 1, "annotations": [{"result": results}], "data": {"img": "a.png"}}], tmp_path / "p.json")
    save(image(0, (40, 60)), tmp_path / "a.png")
    folder = read_folder(tmp_path)
    mask = folder.read_mask(folder.pairs[0])
    expected = np.zeros((40, 60), np.uint8)
    # 12 wide and 10 high, turned clockwise about its left upper corner (30, 0)
    expected[0:12, 20:30] = 1
    y, x = np.indices(mask.shape) + 0.5
    expected[((x - 45) / 4) ** 2 + ((y - 30) / 6) ** 2 <= 1] = 2
    np.testing.assert_array_equal(mask, expected)


def test_label_studio_faults(tmp_path: Path) -> None:
    MAKERS["label studio"][1](tmp_path)
    file = tmp_path / "project-1.json"

    def damage(tasks: list[Any]) -> None:
        tasks[0]["annotations"][1]["result"][0]["value"]["rle"] = [0, 0, 9]
        tasks[2]["annotations"] = [{"result": tasks[0]["annotations"][1]["result"][1:2]}]
        tasks[2]["data"]["image"] = "/data/upload/1/0a1b2c3d-plain.png"

    change(file, damage)
    folder = read_folder(tmp_path)
    twice = "two entries, task 2 of project-1.json and task 3 of project-1.json, give this image different labels"
    assert folder.clashes == [(tmp_path / "images" / "plain.png", f"{twice}; keep one of them")]
    with pytest.raises(DataError, match=r"project-1.json \(image a b.jpg\): result 'x': the brush's RLE is cut short"):
        folder.read_mask(folder.pairs[0])
    change(file, lambda tasks: [result["value"].clear() for result in tasks[0]["annotations"][1]["result"]] and
           tasks.pop())  # fmt: skip
    with pytest.raises(DataError, match="no label in it; expected brushes, polygons, ellipses or rectangles"):
        read_folder(tmp_path)


def test_nnunet_channels_and_labels_that_do_not_fit(tmp_path: Path) -> None:
    MAKERS["nnunet"][1](tmp_path)
    file = tmp_path / "dataset.json"
    change(file, lambda content: content["channel_names"].update({"2": "depth"}))
    folder = read_folder(tmp_path)
    assert [path.name for path, _ in folder.faults] == [f"case_{number}_0002.png" for number in range(3)]
    assert "dataset.json names 3 channels" in folder.faults[0][1]
    change(file, lambda content: content["channel_names"].pop("2"))
    change(file, lambda content: content["labels"].update(whole=[1, 2]))
    folder = read_folder(tmp_path)
    assert folder.labels is None
    assert "regions" in folder.notes[0]
    change(file, lambda content: content.update(labels={"background": 0, "cell": "one"}))
    with pytest.raises(DataError, match=r"dataset.json: labels .* expected each name with its value"):
        read_folder(tmp_path)
    change(file, lambda content: content.update(labels={"background": 0, "cell": 1}, file_ending=".npz"))
    with pytest.raises(DataError, match=r"file_ending '.npz'; expected the ending of a picture or volume"):
        read_folder(tmp_path)
