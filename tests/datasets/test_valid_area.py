"""Fields of view: where they are 0 the pixels count in no statistics, no class, no loss and no score."""

from pathlib import Path

import numpy as np
import pytest
from command_line import SMALL, run
from PIL import Image

from atrous.datasets import channel_statistics, open_dataset
from atrous.doctor import examine_dataset, mend
from atrous.errors import DataError, RecipeError
from atrous.evaluate.sources import judge
from atrous.io import read_mask, write_image
from atrous.train.recipe import Recipe
from atrous.train.run import check_same

RNG = np.random.default_rng(0)


def retina(
    root: Path, *, area: str = "mask", ending: str = "_mask.gif", inside: int = 255, split: bool = False
) -> Path:
    """Six pictures, 200 outside of a disc and dark in it; their labels say vessel everywhere outside."""
    rows, columns = np.mgrid[:48, :48]
    disc = (rows - 24) ** 2 + (columns - 24) ** 2 < 20**2
    for index in range(6):
        vessel = RNG.random((48, 48)) < 0.2
        image = np.where(disc, 40 + 30 * vessel, 200)[..., None].repeat(3, 2).astype(np.uint8)
        image[..., 0] += index
        label = np.where(disc, vessel, True).astype(np.uint8) * 255
        place = ("train", "val")[index > 3] if split else ""
        for folder, name, array in (
            ("images", f"{index}_training.png", image),
            ("1st_manual", f"{index}_training.png", label),
            (area, f"{index}_training{ending}", disc.astype(np.uint8) * inside),
        ):
            (root / place / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / place / folder / name)
    return root


@pytest.mark.parametrize(
    "form",
    [{}, {"ending": ".png", "inside": 1}, {"split": True}, {"area": "fov", "ending": ".png"}, {"area": "masks"}],
    ids=["DRIVE", "of 0 and 1", "splits", "fov", "masks"],
)
def test_pixels_outside_count_nowhere(tmp_path: Path, form: dict[str, object]) -> None:
    data = open_dataset(retina(tmp_path / "d", **form), valid_area=form.get("area", "mask"), holdout=0)  # type: ignore[arg-type]
    (pairs, *_) = data.splits.values()
    assert channel_statistics(pairs)[0].max() < 60
    vessel = pairs.frequencies() / pairs.frequencies().sum()
    assert vessel[1] < 0.3
    sample = pairs[0]
    assert sample.mask is not None
    assert sample.valid is not None
    assert (sample.mask[0] == data.labels.ignore_index).all()
    assert ((sample.mask == data.labels.ignore_index) == ~sample.valid).all()
    assert pairs.frequencies().sum() == sum(int(one.valid.sum()) for one in pairs)  # type: ignore[union-attr]


def test_without_it_the_labels_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1st_manual/ could each hold the masks; .* give --valid-area mask$"):
        open_dataset(retina(tmp_path / "d"))


def _no_folder(root: Path) -> None:
    for path in (root / "mask").iterdir():
        path.unlink()


def _one_is_gone(root: Path) -> None:
    (root / "mask" / "2_training_mask.gif").unlink()


def _other_size(root: Path) -> None:
    Image.fromarray(np.full((40, 48), 255, np.uint8)).save(root / "mask" / "2_training_mask.gif")


def _three_values(root: Path) -> None:
    Image.fromarray(np.arange(48 * 48, dtype=np.uint8).reshape(48, 48) % 3).save(root / "mask" / "2_training_mask.gif")


def _nothing_inside(root: Path) -> None:
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(root / "mask" / "2_training_mask.gif")


def _jpeg_of_0_and_1(root: Path) -> None:
    path = root / "mask" / "2_training_mask.gif"
    Image.fromarray(read_mask(path)).save(path.with_suffix(".jpg"))
    path.unlink()


def _cut(root: Path) -> None:
    path = root / "mask" / "2_training_mask.gif"
    path.write_bytes(path.read_bytes()[:60])


def _all_of_another_size(root: Path) -> None:
    for path in (root / "mask").iterdir():
        Image.fromarray(np.full((40, 48), 255, np.uint8)).save(path)


FAULTS = {
    _no_folder: "no folder mask/ with pictures beside images/",
    _all_of_another_size: "a field of view of 40x48 pixels",
    _one_is_gone: "2_training.png.*has no field of view in mask/",
    _other_size: "2_training_mask.gif: a field of view of 40x48 pixels .* its image 2_training.png is 48x48",
    _three_values: "2_training_mask.gif: 3 values up to 2; expected a field of view",
    _nothing_inside: "2_training_mask.gif: 1 values up to 0; expected a field of view",
    _jpeg_of_0_and_1: "2_training_mask.jpg: 2 values up to 1; expected a field of view",
    _cut: "2_training_mask.gif",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence_of_check_and_training(tmp_path: Path, fault) -> None:  # type: ignore[no-untyped-def]
    root = retina(tmp_path / "d")
    fault(root)
    with pytest.raises(DataError, match=FAULTS[fault]):
        open_dataset(root, valid_area="mask").verify()
    if fault is _no_folder:
        with pytest.raises(DataError, match=FAULTS[fault]):
            examine_dataset(root, valid_area="mask")
    else:
        assert len(examine_dataset(root, valid_area="mask").errors) == (6 if fault is _all_of_another_size else 1)


def test_values_outside_name_no_class_and_are_no_fault(tmp_path: Path) -> None:
    root = retina(tmp_path / "d")
    for path in (root / "1st_manual").iterdir():
        label, inside = read_mask(path) // 255, read_mask(next((root / "mask").glob(f"{path.stem}_*"))) > 0
        write_image(path, np.where(inside, label, np.where(np.arange(48) < 24, 2, 77)).astype(np.uint8))
    data = open_dataset(root, valid_area="mask", holdout=0)
    found = examine_dataset(root, valid_area="mask")
    data.verify()
    assert data.labels.values == (0, 1)
    assert found.labels == data.labels
    assert not found.errors
    counted = np.sum([[counts[value] for value in (0, 1)] for counts in found.reading.counts if counts], 0)
    assert counted.tolist() == data.splits["all"].frequencies().tolist()


@pytest.mark.parametrize("smooth", ["jpg", "png"])
def test_a_field_of_view_may_be_smooth_along_its_edge(tmp_path: Path, smooth: str) -> None:
    root, sharp = retina(tmp_path / "d"), retina(tmp_path / "e")
    for path in (root / "mask").iterdir():
        picture = Image.fromarray(read_mask(path) * 255)
        picture = picture if smooth == "jpg" else picture.resize((96, 96)).resize((48, 48), Image.Resampling.BILINEAR)
        picture.save(path.with_suffix(f".{smooth}"))
        path.unlink()
    assert open_dataset(root, valid_area="mask").splits["train"][0].valid.sum() == pytest.approx(  # type: ignore[union-attr]
        open_dataset(sharp, valid_area="mask").splits["train"][0].valid.sum(), rel=0.02  # type: ignore[union-attr]
    )  # fmt: skip


def test_a_photo_is_no_field_of_view(tmp_path: Path) -> None:
    root = retina(tmp_path / "d")
    for path in (root / "mask").iterdir():
        Image.fromarray(RNG.integers(0, 256, (48, 48), dtype=np.uint8)).save(path)
    with pytest.raises(DataError, match="values up to 255; expected a field of view"):
        open_dataset(root, valid_area="mask")


@pytest.mark.parametrize("name", ["", ".", "fov", "MASK", "../d/mask", "images", "mask/x"])
def test_a_name_that_is_no_folder_of_them_is_told(tmp_path: Path, name: str) -> None:
    root = retina(tmp_path / "d")
    for look in open_dataset, examine_dataset:
        with pytest.raises(DataError, match=r"can hold fields of view; expected the name alone .* 1st_manual or mask"):
            look(root, valid_area=name)


def test_a_name_may_end_as_the_shell_completes_it(tmp_path: Path) -> None:
    assert open_dataset(retina(tmp_path / "d"), valid_area="mask/").valid_area == "mask"


def test_a_pair_of_a_list_without_a_field_of_view_is_told(tmp_path: Path) -> None:
    root = retina(tmp_path / "d")
    write_image(root / "images" / "new.png", np.full((48, 48, 3), 9, np.uint8))
    write_image(root / "1st_manual" / "other.png", np.eye(48, dtype=np.uint8))
    (root / "train.txt").write_text("images/new.png 1st_manual/other.png\n0_training.png\n")
    (root / "val.txt").write_text("1_training.png\n")
    with pytest.raises(DataError, match=r"new.png: has no field of view in mask/"):
        open_dataset(root, valid_area="mask")
    assert [one.file.name for one in examine_dataset(root, valid_area="mask").errors] == ["new.png"]


def test_a_mended_copy_ignores_what_lies_outside(tmp_path: Path) -> None:
    found = examine_dataset(retina(tmp_path / "d"), valid_area="mask")
    mend(found, tmp_path / "out")
    mask = read_mask(tmp_path / "out" / "masks" / "0_training.png")
    assert set(np.unique(mask)) == {0, 1, 255}
    assert (mask[0] == 255).all()


def test_verbs_take_it_and_a_run_remembers_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, folder = retina(tmp_path / "d", split=True), tmp_path / "run"
    train = ["train", root, "-o", folder, *SMALL]
    assert run(*train) == 2
    assert "--valid-area mask" in capsys.readouterr().err
    assert run(*train, "--valid-area", "mask") == 0
    assert Recipe.load(folder / "recipe.toml").valid_area == "mask"
    assert "--valid-area mask" in (folder / "report.html").read_text()
    assert run("train", root, "-o", folder, "--recipe", folder / "recipe.toml", "--steps", 4) == 0
    inside = sum(int((read_mask(path) > 0).sum()) for path in (root / "val" / "mask").iterdir())
    for area in (None, "mask"):
        assert judge(folder, root, valid_area=area).result.confusion.sum() == inside
    assert run("eval", folder, root, "--valid-area", "mask") == 0
    write_image(tmp_path / "plain" / "images" / "a.png", np.zeros((48, 48, 3), np.uint8))
    write_image(tmp_path / "plain" / "masks" / "a.png", np.eye(48, dtype=np.uint8) * 255)
    assert run("eval", folder, tmp_path / "plain") == 0
    assert run("eval", folder, tmp_path / "plain", "--valid-area", "mask") == 2
    assert "no folder 'mask' that can" in capsys.readouterr().err
    assert run("check", root, "--valid-area", "mask", "--to", "pairs", "-o", tmp_path / "copy") == 2
    assert run("plan", root, "--valid-area", "mask", "--no-measure", "--no-pretrained") == 0


def test_a_run_goes_on_with_its_own_fields_of_view_alone(tmp_path: Path) -> None:
    recipe = Recipe.model_construct(valid_area="fov", data="d", extended=())
    check_same(recipe, recipe, tmp_path)
    for other in (None, "mask"):
        with pytest.raises(RecipeError, match=r"valid_area = fov; give --valid-area fov, or use another -o$"):
            check_same(recipe, recipe.model_copy(update={"valid_area": other}), tmp_path)
    with pytest.raises(RecipeError, match=r"valid_area = None; leave out --valid-area, or use another -o$"):
        check_same(recipe.model_copy(update={"valid_area": None}), recipe, tmp_path)
