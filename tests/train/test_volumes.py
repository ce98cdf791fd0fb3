"""Volumes from a folder to a network and its labels: training, exact resume, prediction on the file's own grid."""

import os
from pathlib import Path

import numpy as np
import pytest
from bodies import GRID, SMALL, body, make_bodies
from grids import GRIDS, TURNS
from safetensors.torch import load_file

import atrous
from atrous.bundle import load_card
from atrous.datasets import open_dataset
from atrous.errors import DataError, ModelError
from atrous.io.geometry import Geometry
from atrous.io.volumes import Volume, read_labels, read_volume, write_volume
from atrous.plan import draft
from atrous.predict.loading import load_predictor
from atrous.predict.volume import VolumePredictor
from atrous.train.batches import batches
from atrous.train.cases import PREPARED, with_cases

pytest.importorskip("SimpleITK", reason="needs the [medical] extra")


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bodies(tmp_path_factory.mktemp("volumes") / "bodies")


@pytest.fixture(scope="module")
def run(bodies: Path) -> Path:
    folder = bodies.parent / "run"
    atrous.Segmenter(**SMALL, steps=60).fit(bodies, folder)  # type: ignore[arg-type]
    return folder


def test_a_folder_of_volumes_is_learned(run: Path, bodies: Path) -> None:
    segmenter = atrous.load(run)
    scores = segmenter.score(bodies, "test")
    assert scores["mean_dice"] > 0.8, scores
    card = load_card(run / "model.safetensors")
    assert card.form is not None
    assert card.form.spacing == (3.0, 2.0, 2.0)
    assert card.form.normalisation[0].scheme == "ct"  # numbers far below 0 are Hounsfield units
    assert not (run / PREPARED).exists()
    assert {"recipe.toml", "log.jsonl", "overlays", "metrics.json"} <= set(os.listdir(run))


def test_a_training_that_is_stopped_ends_in_the_same_weights(bodies: Path, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    class Once:
        def write(self, **values: object) -> None:
            if "val_miou" in values and values["step"] == 3:
                raise Stopped

        def resume(self, step: int) -> None: ...
        def close(self) -> None: ...

    wishes = {**SMALL, "steps": 8, "validate_every": 3}
    atrous.Segmenter(**wishes).fit(bodies, tmp_path / "whole")  # type: ignore[arg-type]
    with pytest.raises(Stopped):
        atrous.Segmenter(**wishes).fit(bodies, tmp_path / "parts", loggers=[Once()])  # type: ignore[arg-type,list-item]
    assert any((tmp_path / "parts" / PREPARED).glob("*.npy"))
    atrous.Segmenter(**wishes).fit(bodies, tmp_path / "parts", workers=1)  # type: ignore[arg-type]
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all((whole[name] == parts[name]).all() for name in whole)


def test_batches_depend_on_the_step_alone(bodies: Path, tmp_path: Path) -> None:
    data = open_dataset(bodies)
    recipe = draft(data, **SMALL, steps=9)  # type: ignore[arg-type]
    ready = with_cases(data, recipe.volume, tmp_path)
    first = list(batches(ready.training, recipe, 0, 6))
    again = list(batches(ready.training, recipe, 3, 6, workers=2))
    for one, other in zip(first[3:], again, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)
    assert first[0].images.shape == (2, 1, 8, 16, 16)
    foreground = [bool(((batch.labels[1] > 0) & (batch.labels[1] != 255)).any()) for batch in first]
    assert all(foreground)  # the last of each batch is drawn about a labelled voxel


def test_volumes_that_are_turned_are_seen_alike(run: Path) -> None:
    predictor = load_predictor(run)
    numbers, labels = body(7)
    for grid in (GRID, GRIDS[3]):
        plain = predictor(Volume(numbers, grid)).labels
        assert (plain == labels).mean() > 0.5 or grid is not GRID
        for turn in TURNS[::5]:
            copy = Volume(turn.array(numbers), turn.geometry(grid, numbers.shape))
            np.testing.assert_array_equal(turn.back(predictor(copy).labels), plain)


def test_labels_are_written_on_the_grid_of_the_scan(run: Path, tmp_path: Path) -> None:
    numbers, _ = body(8, (20, 24, 28))
    grid = Geometry((1.5, 2.0, 2.5), (1.0, 2.0, 3.0), GRIDS[5].direction)
    write_volume(tmp_path / "scan.nii.gz", numbers, grid)
    prediction = load_predictor(run)(tmp_path / "scan.nii.gz")
    assert prediction.labels.shape == numbers.shape
    assert prediction.spacing == pytest.approx((1.5, 2.0, 2.5))  # type: ignore[attr-defined]
    prediction.save(tmp_path / "labels.nii.gz")
    found = read_labels(tmp_path / "labels.nii.gz")
    assert found.grid.differs(read_volume(tmp_path / "scan.nii.gz").grid, numbers.shape) < 1e-5
    np.testing.assert_array_equal(found.array, prediction.labels)
    voxel = 1.5 * 2 * 2.5 / 1000
    millilitres = prediction.millilitres()  # type: ignore[attr-defined]
    assert millilitres["ball"] == pytest.approx(float((prediction.labels == 1).sum()) * voxel)
    assert sum(millilitres.values()) == pytest.approx(numbers.size * voxel)
    assert prediction.probabilities.shape == (3, *numbers.shape)
    np.testing.assert_array_equal(prediction.probabilities.argmax(0), prediction.labels)
    assert prediction.overlay_array().shape == (24, 28, 3)


def test_windows_agree_with_brute_force(run: Path) -> None:
    """Slab by slab the same scores as sums over the whole volume; and mirrored passes are means."""
    plain = load_predictor(run)
    assert isinstance(plain, VolumePredictor)
    image = np.random.default_rng(0).normal(size=(1, 19, 30, 18)).astype(np.float32)
    slabs = list(plain.slabs(image))
    assert [first for first, _ in slabs] == np.cumsum([0, *(slab.shape[1] for _, slab in slabs)])[:-1].tolist()
    found = np.concatenate([slab.numpy() for _, slab in slabs], 1)
    sums, weights = np.zeros((3, 19, 30, 18)), np.zeros((19, 30, 18))
    from atrous.ops.tiles import gaussian, positions

    window = np.einsum("i,j,k", *(gaussian(n).astype(float) for n in plain.window))
    for d in positions(19, 8, 0.5):
        for h in positions(30, 16, 0.5):
            for w in positions(18, 16, 0.5):
                box = np.s_[d : d + 8, h : h + 16, w : w + 16]
                sums[(slice(None), *box)] += plain._window(image[(slice(None), *box)]).numpy() * window
                weights[box] += window
    np.testing.assert_allclose(found, sums / weights, rtol=0, atol=1e-4)
    flipped = load_predictor(run, flip=True)
    part = image[:, :8, :16, :16]
    ways = [(), (1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)]
    each = [np.flip(plain._window(np.flip(part, way).copy()).numpy(), way) for way in ways]
    np.testing.assert_allclose(flipped._window(part).numpy(), np.mean(each, 0), atol=1e-5)  # type: ignore[attr-defined]


def test_a_volume_that_is_smaller_than_a_window(run: Path) -> None:
    numbers, _ = body(9)
    small = numbers[:3, :5, :7]
    assert load_predictor(run)(Volume(small, GRID)).labels.shape == (3, 5, 7)


def test_what_is_wrong_is_one_sentence(run: Path, bodies: Path, tmp_path: Path) -> None:
    predictor = load_predictor(run)
    with pytest.raises(DataError, match="2 channels, but the network was trained on 1"):
        predictor(Volume(np.zeros((4, 4, 4, 2)), GRID))
    with pytest.raises(DataError, match=r"an array of shape \(4, 4\) .* is not a volume"):
        predictor(np.zeros((4, 4)))
    with pytest.raises(
        ModelError, match="refine='crf': a network of volumes has no such option; it is for images alone"
    ):
        load_predictor(run, refine="crf")
    with pytest.raises(ModelError, match="deeplabv3plus is a network for images, the data are volumes"):
        atrous.Segmenter("deeplabv3plus", steps=1).fit(bodies, tmp_path / "a")
    with pytest.raises(ModelError, match="crop 16x16: volumes are cropped to three sides"):
        atrous.Segmenter(steps=1, crop=(16, 16)).fit(bodies, tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda grid: Geometry(grid.spacing, (0.0, 0.0, 0.0)), r"lie elsewhere than their image case0.nii.gz \(up to"),
        (lambda grid: Geometry((3.0, 2.0, 1.0), grid.origin), "voxels are 3 x 2 x 1 mm apart, the image's 3 x 2 x 2"),
        (lambda grid: TURNS[1].geometry(grid, (14, 24, 28)), "their axes go"),
    ],
    ids=["moved", "spacing", "mirrored"],
)  # fmt: skip
def test_labels_that_lie_elsewhere_are_refused(change, said: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    root = make_bodies(tmp_path / "data", train=2)
    write_volume(root / "train" / "labels" / "case0.nii.gz", body(0)[1], change(GRID))
    with pytest.raises(DataError, match=said):
        open_dataset(root).verify()
    write_volume(root / "train" / "labels" / "case0.nii.gz", body(0)[1][:-1], GRID)
    with pytest.raises(DataError, match=r"the labels have 13 x 24 x 28 voxels \(D x H x W\), their image"):
        open_dataset(root).verify()
