"""What a folder holds whatever its layout: one pair for an image, texts and names of any system."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_layouts import MAKERS, SIZE, box, decathlon, image, save, scene, shape, write_json
from make_pairs import make_pairs

from atrous.datasets import Folder, Pair, open_dataset, read_folder
from atrous.datasets.folder import folders_in, has_sections
from atrous.doctor import examine_dataset
from atrous.doctor.mend import mend
from atrous.errors import DataError
from atrous.files import read_lines

Objects = list[tuple[object, list[float]]]


def coco(root: Path, names: dict[Any, str], objects: Objects, file: str = "labels.json") -> Path:
    """Write COCO of one category. names: id -> file_name. objects: (image_id, outline)."""
    listed = [{"id": id, "file_name": name, "height": SIZE[0], "width": SIZE[1]} for id, name in names.items()]
    drawn = [
        {"id": k, "image_id": id, "category_id": 1, "segmentation": [line]} for k, (id, line) in enumerate(objects)
    ]
    write_json({"images": listed, "annotations": drawn, "categories": [{"id": 1, "name": "cell"}]}, root / file)
    return root / file


def labelme(root: Path, file: str, picture: str, right: int = 9) -> None:
    drawn = [shape("cat", [[1, 1], [right, 1], [right, 9]])]
    content = {"imagePath": picture, "imageHeight": SIZE[0], "imageWidth": SIZE[1], "shapes": drawn}
    write_json(content, root / file)


def tasks(root: Path, *named: tuple[str, float]) -> None:
    """Write Label Studio's tasks: (image, width of its rectangle in per cent)."""
    entries = []
    for number, (name, width) in enumerate(named, start=1):
        value = {"x": 10, "y": 10, "width": width, "height": 50, "rectanglelabels": ["cat"]}
        result = {"id": "r", "type": "rectanglelabels", "value": value}
        entries.append({"id": number, "annotations": [{"result": [result]}], "data": {"image": name}})
    write_json(entries, root / "project.json")


def pictures(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        save(image(number), root / name)


def refused(root: Path) -> str:
    """Check and training agree: both refuse. Returns the sentence of training."""
    assert examine_dataset(root).errors
    with pytest.raises(DataError) as error:
        open_dataset(root)
    return str(error.value)


def coco_two_entries(root: Path) -> None:
    pictures(root, "images/a.png")
    coco(root, {1: "a.png", 2: "./a.png"}, [(1, box(1, 1, 9, 9)), (2, box(11, 1, 19, 9))])


def coco_two_files(root: Path) -> None:
    pictures(root, "images/a.png", "images/b.png")
    coco(root, {1: "a.png"}, [(1, box(1, 1, 9, 9))], "annotations/instances_train.json")
    coco(root, {1: "b.png", 7: "images/a.png"}, [(7, box(1, 1, 9, 9))], "annotations/instances_val.json")


def labelme_two_files(root: Path) -> None:
    pictures(root, "a.png")
    labelme(root, "a.json", "a.png")
    labelme(root, "z.json", "a.png", right=15)


def two_tasks(root: Path) -> None:
    pictures(root, "images/a.png")
    tasks(root, ("/data/upload/1/0a1b2c3d-a.png", 20), ("/data/upload/1/a.png", 40))


def voc_two_lists(root: Path) -> None:
    MAKERS["voc"][1](root)
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("2007_000001\n2007_000002\n")


def cvat_two_lists(root: Path) -> None:
    MAKERS["cvat"][1](root)
    lists = root / "ImageSets" / "Segmentation"
    (lists / "default.txt").rename(lists / "train.txt")
    (lists / "val.txt").write_text("JPEGImages/a.jpg\n")


def decathlon_two_labels(root: Path) -> None:
    decathlon(root)
    file = root / "dataset.json"
    content = json.loads(file.read_text())
    content["training"].append({**content["training"][0], "label": content["training"][1]["label"]})
    write_json(content, file)


@pytest.mark.parametrize(
    "make, sentence",
    [
        (coco_two_entries, "a.png: two entries, image 1 of labels.json and image 2 of labels.json, give this image"),
        (
            coco_two_files,
            "this image is in train and in val with the labels image 1 of instances_train.json and image 7",
        ),
        (
            labelme_two_files,
            "a.png: two entries, a.json and z.json, give this image different labels; keep one of them",
        ),
        (two_tasks, "a.png: two entries, task 1 of project.json and task 2 of project.json, give this image"),
        (voc_two_lists, "2007_000001.jpg: this image is in train and in val; keep it in one of them"),
        (cvat_two_lists, "a.jpg: this image is in train and in val; keep it in one of them"),
    ],
)
def test_two_entries_of_one_image_are_named(tmp_path: Path, make: Callable[[Path], None], sentence: str) -> None:
    make(tmp_path)
    assert sentence in refused(tmp_path)


def test_two_labels_of_one_volume_are_named(tmp_path: Path) -> None:
    decathlon_two_labels(tmp_path)
    with pytest.raises(DataError, match=r"two entries, prostate_00.nii.gz and prostate_01.nii.gz, give this image"):
        read_folder(tmp_path).refuse_incomplete()


@pytest.mark.parametrize("number", [2, 3])
def test_entries_that_say_the_same_are_one(tmp_path: Path, number: int) -> None:
    pictures(tmp_path, "images/a.png")
    coco(tmp_path, dict.fromkeys(range(number), "a.png"), [(id, box(1, 1, 9, 9)) for id in range(number)])
    folder = read_folder(tmp_path)
    assert (len(folder.pairs), folder.faults) == (1, [])
    assert folder.read_mask(folder.pairs[0])[1:9, 1:9].all()


@pytest.mark.parametrize("id", [1, "x", None, {}, [1]])
def test_two_images_of_one_id_are_both_named(tmp_path: Path, id: object) -> None:
    pictures(tmp_path, "images/a.png", "images/a.jpg", "images/b.png")
    file = coco(tmp_path, {1: "a.png", 2: "a.jpg", 3: "b.png"}, [(3, box(1, 1, 9, 9))])
    content = json.loads(file.read_text())
    for entry in content["images"][:2]:
        entry["id"] = id
    write_json(content, file)
    assert "this image and a.jpg share the id" in refused(tmp_path)
    assert {path.name for path, _ in read_folder(tmp_path).clashes} == {"a.png", "a.jpg"}


def test_each_pair_of_an_image_has_its_own_labels_in_the_cache(tmp_path: Path) -> None:
    save(image(0), tmp_path / "a.png")
    for name, value in ("one", 0), ("two", 1):
        save(np.full(SIZE, value, np.uint8), tmp_path / f"{name}.png")
    pairs = [Pair(tmp_path / "a.png", tmp_path / f"{name}.png") for name in ("one", "two")]
    for part in ("images", "masks"):
        save(scene(0, [0, 1]) if part == "masks" else image(0), tmp_path / "data" / part / "a.png")
    samples = open_dataset(tmp_path / "data").splits["train"]._of(pairs)
    for _ in range(2):
        for index, value in enumerate((0, 1)):
            mask = samples[index].mask
            assert mask is not None
            assert (mask == value).all()
    assert samples.frequencies().tolist() == [SIZE[0] * SIZE[1]] * 2


@pytest.mark.parametrize(
    "made, twin",
    [
        ("voc", "JPEGImages/2007_000001.png"),
        ("cvat", "JPEGImages/sub/b.png"),
        ("roboflow", "train/a0_jpg.rf.010.png"),
        ("coco-stuff", "train2017/000000000000.png"),
        ("pairs", "train/images/p0.jpg"),
    ],
)
def test_two_images_of_one_name_are_both_named(tmp_path: Path, made: str, twin: str) -> None:
    MAKERS[made][1](tmp_path)
    pictures(tmp_path, twin)
    assert "one of two images of one name, the other is" in refused(tmp_path)


def test_a_name_that_no_list_uses_may_be_that_of_two_images(tmp_path: Path) -> None:
    MAKERS["voc"][1](tmp_path)
    pictures(tmp_path, "JPEGImages/2007_000009.png")  # beside 2007_000009.jpg
    open_dataset(tmp_path)


def test_a_name_in_two_folders_of_vocs_form_is_two_images(tmp_path: Path) -> None:
    for number, name in enumerate(("cat/0", "dog/0")):
        save(image(number), tmp_path / "JPEGImages" / f"{name}.jpg")
        save(scene(number, [0, number + 1]), tmp_path / "SegmentationClass" / f"{name}.png")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("cat/0\n/JPEGImages/dog/0.jpg /SegmentationClass/dog/0.png\n")
    folder = read_folder(tmp_path)
    folder.refuse_incomplete()
    assert [int(folder.read_mask(pair).max()) for pair in folder.splits["train"]] == [1, 2]


def via_table(root: Path) -> None:
    pictures(root, "a.png")
    outline = json.dumps({"name": "rect", "x": 2, "y": 3, "width": 9, "height": 6}).replace('"', '""')
    heading = "filename,region_shape_attributes,region_attributes"
    (root / "via_export_csv.csv").write_text(f'{heading}\na.png,"{outline}","{{""class"": ""cat""}}"\n')


def listed_pairs(root: Path) -> None:
    make_pairs(root, 3)
    (root / "train.txt").write_text("p00\nimages/p01.png masks/p01.png")
    (root / "val.txt").write_text("p02.png")


def table_of_splits(root: Path) -> None:
    make_pairs(root, 3)
    (root / "splits.csv").write_text("image,split\np00.png,train\np01.png,train\np02.png,val")


WITHOUT_PAIRED_NAMES = (
    "coco",
    "label_studio",
    "label_studio_png",
    "labelme",
    "nnunet",
    "cvat_xml",
    "darwin",
    "via",
    "stacks",
)
"""Annotation files name the images of six layouts; a name of nnU-Net's is that of several files."""
MADE = {"decathlon": decathlon, "table": via_table, "lists": listed_pairs, "table of splits": table_of_splits}
TEXTS = [
    ("voc", "ImageSets/Segmentation/train.txt"), ("cvat", "ImageSets/Segmentation/default.txt"),
    ("cvat", "labelmap.txt"), ("roboflow", "train/_classes.csv"), ("class_dict.csv", "class_dict.csv"),
    ("camvid, colours", "label_colors.txt"), ("coco", "annotations/instances_train2017.json"),
    ("label studio", "project-1.json"), ("labelme", "train/a0.json"), ("nnunet", "dataset.json"),
    ("decathlon", "dataset.json"), ("yolo", "data.yaml"), ("yolo", "labels/train/y0.txt"),
    ("via", "train/via_region_data.json"), ("table", "via_export_csv.csv"), ("supervisely", "meta.json"),
    ("supervisely", "train/ann/s0.png.json"), ("darwin", "releases/train/d0.json"), ("cvat, xml", "annotations.xml"),
    ("lists", "train.txt"), ("table of splits", "splits.csv"),
]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("made, file", TEXTS)
def test_marks_and_line_ends_of_windows_change_nothing(tmp_path: Path, made: str, file: str, encoding: str) -> None:
    (MADE.get(made) or MAKERS[made][1])(tmp_path)
    before = read_folder(tmp_path)
    text = (tmp_path / file).read_text()
    (tmp_path / file).write_bytes((text.replace("\n", " \r\n") + "\r\n\r\n").encode(encoding))
    after = read_folder(tmp_path)
    assert (after.splits, after.labels, after.faults) == (before.splits, before.labels, before.faults)


@pytest.mark.parametrize("made, file", TEXTS)
def test_a_text_that_is_not_utf8_is_named(tmp_path: Path, made: str, file: str) -> None:
    (MADE.get(made) or MAKERS[made][1])(tmp_path)
    text = (tmp_path / file).read_text().rstrip()
    joined = text[:-1] + ',"\u72d7": 1}' if text.endswith("}") else text[:-1] + ', "\u72d7"]'
    (tmp_path / file).write_bytes((joined if file.endswith(".json") else f"{text}\n\u72d7\n").encode("gbk"))
    with pytest.raises(DataError, match=rf"{Path(file).name}: is not UTF-8; save it as UTF-8$"):
        read_folder(tmp_path)


@pytest.mark.parametrize("made", [made for made, (layout, _) in MAKERS.items() if layout not in WITHOUT_PAIRED_NAMES])
def test_a_mask_is_found_by_a_name_in_another_form_of_unicode(tmp_path: Path, made: str) -> None:
    """An accent as one sign in the names of images, as two in those of masks and in lists: macOS archives them so."""
    MAKERS[made][1](tmp_path)
    before = read_folder(tmp_path)
    for path in {*(pair.image for pair in before.pairs), *tmp_path.glob("leftImg8bit/*/*/*")}:
        path.rename(path.with_name(f"\u00e9{path.name}"))
    masks = {pair.mask for pair in before.pairs}
    inner = {file for mask in masks if mask.is_dir() for file in mask.rglob("*.png")}  # masks of classes
    for path in {*(mask for mask in masks if mask.is_file()), *inner, *tmp_path.glob("gtFine/*/*/*")}:
        path.rename(path.with_name(f"e\u0301{path.name}"))
    for file in tmp_path.glob("ImageSets/Segmentation/*.txt"):
        names = [Path(line).with_name("e\u0301" + Path(line).name).as_posix() for line in read_lines(file)]
        file.write_text("\n".join(names))
    after = read_folder(tmp_path)
    after.refuse_incomplete()
    assert [len(pairs) for pairs in after.splits.values()] == [len(pairs) for pairs in before.splits.values()]


@pytest.mark.parametrize(
    "name, form", [("caf\u00e9.png", "cafe\u0301.png"), ("cafe\u0301.png", "caf\u00e9.png"), ("A.PNG", "a.png")]
)
def test_annotation_files_may_write_names_in_another_form(tmp_path: Path, name: str, form: str) -> None:
    pictures(tmp_path, f"coco/images/{name}", f"ls/images/{name}", f"lm/{name}")
    coco(tmp_path / "coco", {1: form}, [(1, box(1, 1, 9, 9))])
    tasks(tmp_path / "ls", (f"/data/upload/{form}", 30))
    labelme(tmp_path / "lm", "other.json", form)
    for part in ("coco", "ls", "lm"):
        folder = read_folder(tmp_path / part)
        folder.refuse_incomplete()
        assert [pair.image.name for pair in folder.pairs] == [name]


def rename_in(file: Path, name: str, new: str) -> None:
    """Write another name of an image into an XML or JSON file."""
    text = file.read_text().replace(f'name="{name}"', f'name="{new}"')
    file.write_text(text.replace(f'name": "{name}"', f'name": {json.dumps(new, ensure_ascii=False)}'))


@pytest.mark.parametrize("made", ["cvat, xml", "darwin", "via"])
@pytest.mark.parametrize(
    "before, form, after",
    [
        ("", "{}", ""), ("", "C:\\data\\set\\{}", ""), ("", "/home/me/set/{}", ""), ("", "./{}", ""),
        ("B", "{}", "b"), ("\u00e9", "{}", "e\u0301"), ("e\u0301", "{}", "\u00e9"), ("a ", "{}", "a%20"),
    ],
)  # fmt: skip
def test_outlines_may_write_names_in_another_form(
    tmp_path: Path, made: str, before: str, form: str, after: str
) -> None:
    """before, after: how the names of images begin, on the disk and in the file."""
    MAKERS[made][1](tmp_path)
    folder = read_folder(tmp_path)
    for pair in folder.pairs:
        place = pair.image.relative_to(tmp_path)
        rename_in(pair.mask, place.name, form.format(place.with_name(after + place.name).as_posix()))
        pair.image.rename(pair.image.with_name(before + place.name))
    found = read_folder(tmp_path)
    found.refuse_incomplete()
    assert {split: [pair.image.name for pair in pairs] for split, pairs in found.splits.items()} == {
        split: [before + pair.image.name for pair in pairs] for split, pairs in folder.splits.items()
    }


@pytest.mark.parametrize("made", ["cvat, xml", "darwin", "via"])
def test_outlines_do_not_lead_out_of_the_data_folder(tmp_path: Path, made: str) -> None:
    MAKERS[made][1](tmp_path / "data")
    pictures(tmp_path, "secret.png")
    pair = read_folder(tmp_path / "data").pairs[0]
    before = pair.image.name
    for name in ("../secret.png", "../../../secret.png", str(tmp_path / "secret.png")):
        rename_in(pair.mask, before, name)
        before = name
        assert "1 of its images" in refused(tmp_path / "data")


def test_a_name_that_fits_several_images_is_asked_about(tmp_path: Path) -> None:
    pictures(tmp_path, "coco/images/x/a.png", "coco/images/y/a.png", "ls/x/a.png", "ls/y/a.png", "lm/p.png", "lm/p.jpg")
    coco(tmp_path / "coco", {1: "a.png"}, [(1, box(1, 1, 9, 9))])
    tasks(tmp_path / "ls", ("/data/upload/a.png", 30))
    labelme(tmp_path / "lm", "p.json", "p.bmp")
    assert "'a.png', may be images/x/a.png or images/y/a.png; give its file_name" in refused(tmp_path / "coco")
    assert "which may be x/a.png or y/a.png" in refused(tmp_path / "ls")
    assert "its image may be p.jpg or p.png; correct its imagePath" in refused(tmp_path / "lm")


def test_names_do_not_lead_out_of_the_data_folder(tmp_path: Path) -> None:
    pictures(tmp_path, "secret.png", "coco/images/b.png", "lm/b.png")
    for name in ("../secret.png", "../../secret.png", str(tmp_path / "secret.png"), "../../../../etc/passwd"):
        coco(tmp_path / "coco", {1: name, 2: "b.png"}, [(2, box(1, 1, 9, 9))])
        assert "1 of its images" in refused(tmp_path / "coco")
    labelme(tmp_path / "lm", "s.json", "../secret.png")
    labelme(tmp_path / "lm", "b.json", "b.png")
    assert "its image ../secret.png lies outside of" in refused(tmp_path / "lm")
    labelme(tmp_path / "lm", "s.json", "../none.png")
    assert "1 mask (s.json) without an image" in refused(tmp_path / "lm")


def test_the_nearest_name_is_told_where_none_fits(tmp_path: Path) -> None:
    pictures(tmp_path, "coco/images/frame_0001.png", "ls/images/frame_0001.png")
    coco(tmp_path / "coco", {1: "frame_001.png"}, [(1, box(1, 1, 9, 9))])
    tasks(tmp_path / "ls", ("frame_001.png", 30))
    nearest = r"the nearest name( to frame_001.png)? is images/frame_0001.png; add"
    assert all(re.search(nearest, refused(tmp_path / part)) for part in ("coco", "ls"))


@pytest.mark.parametrize(
    "first", [{"description": "x" * 9000}, {"info": "words", "licenses": []}, {"\u72d7": {"a": [1]}}]
)
def test_coco_is_recognised_by_its_sections_wherever_they_stand(tmp_path: Path, first: dict[str, object]) -> None:
    pictures(tmp_path, "images/a.png")
    file = coco(tmp_path, {1: "a.png"}, [(1, box(1, 1, 9, 9))])
    file.write_text(json.dumps({**first, **json.loads(file.read_text())}, indent=2))
    assert read_folder(tmp_path).layout == "coco"


def test_label_studio_and_labelme_are_recognised_behind_other_things(tmp_path: Path) -> None:
    pictures(tmp_path, "ls/images/a.png", "lm/b.png")
    tasks(tmp_path / "ls", ("a.png", 30))
    file = tmp_path / "ls" / "project.json"
    file.write_text(json.dumps([{"meta": "x" * 9000, **task} for task in json.loads(file.read_text())]))
    labelme(tmp_path / "lm", "b.json", "b.png")
    (tmp_path / "lm" / "a_settings.json").write_text("{}")
    assert read_folder(tmp_path / "ls").layout == "label_studio"
    with pytest.raises(DataError, match=r"a_settings.json: not a labelme file; .* move the file away"):
        read_folder(tmp_path / "lm")


def test_sections_are_looked_for_as_keys(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"note": "images", "annotations" : []}')
    assert has_sections(file, "{", "annotations")
    assert not has_sections(file, "{", "images")
    assert not has_sections(file, "[", "annotations")
    assert not has_sections(tmp_path / "none.json", "{")


def with_runs(counts: object, size: object) -> Callable[[dict[str, Any]], Any]:
    return lambda found: found["annotations"][0].update(segmentation={"counts": counts, "size": size})


DAMAGES: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("annotation 0: ", with_runs([10**30], [9, 9])),
    ("annotation 0: ", with_runs([[1], [2]], [9, 9])),
    ("annotation 0: ", with_runs([1], [9])),
    ("annotation 0: ", with_runs([1], 9)),
    ("has the category [1]", lambda found: found["annotations"][0].update(category_id=[1])),
    ("has the category {}", lambda found: found["annotations"][0].update(category_id={})),
    ("belongs to image {}", lambda found: found["annotations"][0].update(image_id={})),
    ("belongs to image [1]", lambda found: found["annotations"][0].update(image_id=[1])),
    ("not COCO's annotations", lambda found: found["annotations"].append(3)),
    ("not COCO's annotations", lambda found: found["images"].append([])),
    ("1 of its images", lambda found: found["images"][0].update(file_name=None)),
    ("1 of its images", lambda found: found["images"][0].update(file_name=["a.png"])),
]  # fmt: skip


@pytest.mark.parametrize("sentence, damage", DAMAGES)
def test_damaged_numbers_of_coco_are_one_sentence(
    tmp_path: Path, sentence: str, damage: Callable[[dict[str, Any]], Any]
) -> None:
    pictures(tmp_path, "images/a.png")
    file = coco(tmp_path, {1: "a.png"}, [(1, box(1, 1, 9, 9))])
    content = json.loads(file.read_text())
    damage(content)
    write_json(content, file)
    with pytest.raises(DataError) as error:
        open_dataset(tmp_path).verify()
    assert sentence in str(error.value)


def test_run_lengths_whose_sum_wraps_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path, "images/a.png")
    file = coco(tmp_path, {1: "a.png"}, [(1, box(1, 1, 9, 9))])
    content = json.loads(file.read_text())
    pixels = SIZE[0] * SIZE[1]
    content["annotations"][0]["segmentation"] = {"counts": [pixels, 2**62, 2**62, 2**62, 2**62], "size": list(SIZE)}
    write_json(content, file)
    with pytest.raises(DataError, match=r"the RLE has 184\d+ pixels, its image"):
        open_dataset(tmp_path).verify()


@pytest.mark.parametrize("task", [3, {"annotations": 5}, {"annotations": [{"result": [7]}]}, {"annotations": [1]}])
def test_a_damaged_task_is_named(tmp_path: Path, task: object) -> None:
    pictures(tmp_path, "images/a.png")
    tasks(tmp_path, ("a.png", 30))
    file = tmp_path / "project.json"
    write_json([*json.loads(file.read_text()), task], file)
    assert "project.json: task number 2 is damaged" in refused(tmp_path)


def test_links_to_folders_are_followed_and_a_loop_ends(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        for number, name in enumerate(("a/0", "store/1", "store/2")):
            place = tmp_path / ("data" if name.startswith("a") else "elsewhere") / part / f"{name}.png"
            save(image(number) if part == "images" else scene(number, [0, 1]), place)
        folder = tmp_path / "data" / part
        (folder / "b").symlink_to(tmp_path / "elsewhere" / part / "store")
        (folder / "c").symlink_to(folder / "a")
        (folder / "a" / "up").symlink_to(folder)
        (folder / "self").symlink_to(folder / "self")
    names = [str(pair.image.relative_to(tmp_path / "data")) for pair in read_folder(tmp_path / "data").pairs]
    assert names == ["images/a/0.png", "images/b/1.png", "images/b/2.png", "images/c/0.png"]


def closed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let a folder refuse to be listed, and hide what is in it, also for the user root."""
    real_stat = os.stat

    def stat(path: object, **options: Any) -> os.stat_result:
        if str(path).startswith(f"{folder}{os.sep}"):
            raise PermissionError(13, "Permission denied", str(path))
        return real_stat(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", stat)
    for name in ("scandir", "listdir"):
        real = getattr(os, name)

        def listing(path: object, real: Callable[[object], Any] = real) -> Any:
            if str(path) == str(folder):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        monkeypatch.setattr(os, name, listing)


@pytest.mark.parametrize(
    "made, folder",
    [("pairs", "train/images"), ("voc", "SegmentationClass"), ("cityscapes", "leftImg8bit/train/ulm"),
     ("cvat", "JPEGImages/sub"), ("cvat", "ImageSets/Segmentation"), ("coco", "annotations"),
     ("label studio", "."), ("nnunet", "labelsTr"), ("labelme", "train"), ("pairs", "."), ("yolo", "labels/train"),
     ("yolo", "images/val"), ("yolo", "images"), ("via", "train"), ("supervisely", "train/ann"),
     ("supervisely", "train/img"), ("darwin", "releases/train"), ("darwin", "images/val"),
     ("darwin", "releases"), ("roboflow", "train"), ("camvid, index", "train"), ("ade20k", "images"),
     ("coco", "val2017"), ("coco-stuff, trainIds", "annotations/train2017"), ("voc", "ImageSets"),
     ("class folders", "masks/tree"), ("class endings", "train/images")],
)  # fmt: skip
def test_a_folder_that_may_not_be_entered_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str, folder: str
) -> None:
    MAKERS[made][1](tmp_path)
    closed(monkeypatch, tmp_path / folder)
    with pytest.raises(DataError, match=r"this folder may not be entered; get the right to read it, or move it away"):
        read_folder(tmp_path)


@pytest.mark.parametrize("made", ["pairs", "voc", "cityscapes", "yolo", "via", "supervisely", "class folders", "lists"])
def test_a_closed_folder_beside_the_data_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    (MADE.get(made) or MAKERS[made][1])(tmp_path)
    pairs = read_folder(tmp_path).pairs
    (tmp_path / "lost+found").mkdir()
    closed(monkeypatch, tmp_path / "lost+found")
    folder = read_folder(tmp_path)
    assert folder.pairs == pairs
    assert "lost+found/ may not be entered and is not read" in folder.notes
    assert tmp_path / "lost+found" in folders_in(tmp_path)


def test_names_that_are_no_text_can_be_checked_and_held_out(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode("\u72d7".encode("gbk"))
    for number in range(3):
        name = os.fsdecode("\u732b\u72d7".encode("gbk")) + f"{number}.png"
        save(image(number), root / "images" / name)
        save(scene(number, [0, 1]), root / "masks" / name)
    data = open_dataset(root)
    data.verify()
    assert {split: len(pairs) for split, pairs in data.splits.items()} == {"train": 2, "val": 1}
    json.dumps(examine_dataset(root).summary()).encode()


def test_settle_keeps_pairs_of_different_images(tmp_path: Path) -> None:
    pairs = [Pair(tmp_path / name, tmp_path / "m.png") for name in ("a.png", "b.png")]
    folder = Folder("pairs", "", tmp_path, {"train": pairs[:1], "val": pairs[1:]})
    folder.settle()
    assert (folder.pairs, folder.faults) == (pairs, [])


def test_a_grey_image_of_an_annotation_file_is_mended(tmp_path: Path) -> None:
    pictures(tmp_path, "coco/images/a.png", "coco/images/b.png", "ls/a.png", "ls/b.png")
    for part in ("coco/images", "ls"):
        save(image(3).convert("L"), tmp_path / part / "c.png")
    names = {1: "a.png", 2: "b.png", 3: "c.png"}
    coco(tmp_path / "coco", names, [(id, box(1, 1, 9, 9)) for id in names])
    tasks(tmp_path / "ls", *[(name, 30) for name in names.values()])
    for part in ("coco", "ls"):
        assert mend(examine_dataset(tmp_path / part), tmp_path / f"mended {part}").pairs == 3
