"""Batches over all options of augmentation: the same bytes for any number of workers and after a resume."""

import io
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from runs import recipe
from torchvision.transforms import v2
from worlds import make_world, picture

from atrous.datasets import Pairs, open_dataset
from atrous.errors import ModelError, RecipeError
from atrous.plan import draft
from atrous.train.advice import Speed, advice
from atrous.train.batches import TrainingSet, augmentation, batches, transform_name
from atrous.train.loggers import read_log
from atrous.train.loop import train
from atrous.train.recipe import Recipe
from atrous.transforms import Augment, generator

EVERYTHING = {
    "rotate": 20.0, "shear": 10.0, "vflip": 0.5, "elastic": 2.0, "gamma": 0.5, "blur": 1.5, "noise": 0.1, "jpeg": 40,
    "cutmix": 0.4, "mosaic": 0.4,
}  # fmt: skip
EACH = [{}, {"scale": (0.1, 0.6)}, *({name: value} for name, value in EVERYTHING.items()), EVERYTHING]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six JPEG photos of odd sizes and their masks."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(7)
    for kind in ("images", "masks"):
        (root / kind).mkdir()
    for index in range(6):
        image, mask = picture(rng, 121 + 10 * index, 163)
        Image.fromarray(image).save(root / "images" / f"{index}.jpg", quality=90)
        Image.fromarray(mask).save(root / "masks" / f"{index}.png")
    return root


def pairs_of(root: Path, **options: float) -> Pairs:
    return open_dataset(root, holdout=0, **options).splits["all"]


def digests(pairs: Pairs, made: Recipe, start: int, stop: int, **options: object) -> list[str]:
    stream = batches(pairs, made, start, stop, **options)
    return [sha256(batch[0].numpy().tobytes() + batch[1].numpy().tobytes()).hexdigest() for batch in stream]


@pytest.mark.parametrize("fields", EACH, ids=lambda fields: "+".join(fields) or "defaults")
def test_every_option_depends_on_seed_and_step_alone(photos: Path, fields: dict[str, object]) -> None:
    made = recipe(**fields)
    whole = digests(pairs_of(photos), made, 0, 4)
    assert len(set(whole)) == 4
    assert digests(pairs_of(photos, cache_mb=0), made, 0, 4) == whole  # what the cache holds changes nothing
    assert digests(pairs_of(photos, cache_mb=0.2), made, 2, 4) == whole[2:]  # as after a resume
    assert digests(pairs_of(photos), made.model_copy(update={"seed": 1}), 0, 4) != whole
    if fields:
        assert digests(pairs_of(photos), recipe(), 0, 4) != whole


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_see_the_same_bytes(photos: Path, workers: int) -> None:
    made, then = recipe(**EVERYTHING, scale=(0.2, 2.0)), v2.RandomPhotometricDistort(p=1.0)
    whole = digests(pairs_of(photos), made, 0, 5, then=then)
    assert digests(pairs_of(photos), made, 0, 5, workers=workers, then=then) == whole
    assert digests(pairs_of(photos, cache_mb=0), made, 3, 5, workers=workers, then=then) == whole[3:]


@pytest.mark.parametrize("option", ["cutmix", "mosaic"])
def test_mixed_crops_hold_several_pictures_each_with_its_own_mask(tmp_path: Path, option: str) -> None:
    """Each picture has one value, and its mask has the same: they may never part."""
    for index in range(4):
        for kind in ("images", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
            shape = (40, 50, 3) if kind == "images" else (40, 50)
            Image.fromarray(np.full(shape, index, np.uint8)).save(tmp_path / kind / f"{index}.png")
    still = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "scale": (1, 1)}
    made = recipe(**still, crop=(32, 32), **{option: 1.0})
    pairs = pairs_of(tmp_path)
    training = TrainingSet(pairs, augmentation(made), 0, mix=(made.cutmix, made.mosaic))
    kinds = []
    for index in range(4):
        for epoch in range(10):
            image, labels = training[epoch, index]
            assert (image == labels).all()
            assert index in labels or option == "cutmix"  # which may cover all of it
            kinds.append(len(labels.unique()))
    assert max(kinds) == (2 if option == "cutmix" else 4)


def test_a_transform_of_torchvision_is_applied_to_both_and_leaves_torchs_numbers_alone(photos: Path) -> None:
    pairs = pairs_of(photos)
    plain, flipped = (
        TrainingSet(pairs, Augment((32, 32)), 0, then=then) for then in (None, v2.RandomVerticalFlip(1.0))
    )
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for index in range(6):
        image, labels = plain[0, index]
        other, marks = flipped[0, index]
        assert torch.equal(other, image.flip(1))
        assert torch.equal(marks, labels.flip(0))
    assert torch.equal(torch.get_rng_state(), before)
    noise = TrainingSet(pairs, Augment((32, 32)), 0, then=v2.RandomPhotometricDistort(p=1.0))
    torch.manual_seed(1)
    first = noise[3, 2][0]
    torch.manual_seed(2)
    assert torch.equal(noise[3, 2][0], first)
    assert not torch.equal(noise[4, 2][0], first)


WRONG = [v2.Resize((16, 16)), v2.ToDtype(torch.float32, scale=True), lambda image, mask: image, lambda *_: None]


@pytest.mark.parametrize("transform", WRONG)
def test_a_transform_that_changes_size_or_type_is_refused(photos: Path, transform: object) -> None:
    with pytest.raises(ModelError, match=r"the transform turned \(3, 32, 32\) torch.uint8 and \(32, 32\) .* into "):
        TrainingSet(pairs_of(photos), Augment((32, 32)), 0, then=transform)[0, 0]


def test_a_run_with_a_transform_goes_on_with_the_same_one_only(tmp_path: Path) -> None:
    data = open_dataset(make_world(tmp_path / "world"))
    options = {"model": "unet", "encoder": "test_resnet", "pretrained": False, "batch": 2, "crop": (32, 32), "steps": 2}
    made, run = draft(data, **options), tmp_path / "run"
    flip = v2.RandomVerticalFlip(0.5)
    train(made, data, run, transform=flip)
    held = Recipe.load(run / "recipe.toml")
    assert held.transform == transform_name(flip) == "RandomVerticalFlip(p=0.5)"
    assert train(made, data, run, transform=v2.RandomVerticalFlip(0.5)) == run / "model.safetensors"
    with pytest.raises(RecipeError, match=r"trained with a transform from Python, RandomVerticalFlip\(p=0.5\)"):
        train(made, data, run)
    with pytest.raises(RecipeError, match=r"transform = RandomVerticalFlip\(p=0.5\)"):
        train(made, data, run, transform=v2.RandomVerticalFlip(0.25))


def test_sixteen_bits_and_many_channels_reach_the_network(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(3):
        for kind in ("images", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
        np.save(tmp_path / "images" / f"{index}.npy", rng.integers(0, 60000, (40, 50, 5)).astype(np.uint16))
        Image.fromarray(rng.integers(0, 3, (40, 50)).astype(np.uint8)).save(tmp_path / "masks" / f"{index}.png")
    pairs = pairs_of(tmp_path)
    image, labels = TrainingSet(pairs, Augment((40, 50), (1, 1), flip=0, brightness=0, contrast=0), 0)[0, 1]
    assert (image.dtype, labels.dtype) == (torch.float32, torch.int64)
    np.testing.assert_array_equal(image, pairs[1].image.transpose(2, 0, 1))
    np.testing.assert_array_equal(labels, pairs[1].mask)


def test_a_small_zoom_reads_photos_small(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, read, original = pairs_of(photos, cache_mb=0), [], Pairs.reduced

    def reduced(self: Pairs, index: int, factor: int) -> object:
        read.append(factor)
        return original(self, index, factor)

    monkeypatch.setattr(Pairs, "reduced", reduced)
    augment = Augment((32, 32), (0.1, 1.0), brightness=0, contrast=0, saturation=0, hue=0)
    training = TrainingSet(pairs, augment, 0)
    for epoch in range(4):
        for index in range(6):
            small, labels = training[epoch, index]
            rng = generator(0, epoch, index)
            whole = augment(pairs[index], rng)
            np.testing.assert_array_equal(labels, whole.mask)
            inside = labels.numpy() != 255
            difference = small.numpy().transpose(1, 2, 0)[inside].astype(float) - whole.image[inside]
            assert np.abs(difference).mean() < 12  # another average of the same noisy pixels
    assert {1, 2, 4, 8} >= set(read) > {1}


def test_waiting_is_measured() -> None:
    speed = Speed()

    def slow() -> object:
        while True:
            time.sleep(0.02)
            yield 1

    stream = slow()
    for _ in range(5):
        assert speed.wait_for(stream) == 1
        time.sleep(0.02)
        speed.count(4)
    assert 0.3 < speed.waiting < 0.7
    assert 0.3 < speed.waiting_in_all < 0.7
    assert 50 < speed.rate < 101
    assert str(speed).endswith("%")
    time.sleep(0.05)
    speed.go_on()
    speed.wait_for(iter([1]))
    speed.count(4)
    assert speed.waiting_in_all > 0.25


def test_a_starving_network_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, text = open_dataset(make_world(tmp_path / "world", train=3, val=1, test=0), cache_mb=0), io.StringIO()
    monkeypatch.setattr("atrous.train.loop.STARVED", 0.0)
    options = {
        "model": "unet",
        "encoder": "test_resnet",
        "pretrained": False,
        "batch": 1,
        "crop": (32, 32),
        "precision": "fp32",
        "channels_last": False,
        "fused": True,
    }
    made = draft(data, **options, steps=60, validate_every=60)
    train(made, data, tmp_path / "run", console=Console(file=text, width=200))
    assert text.getvalue().count("the network waits") == 1
    assert "--cache 4GB keeps more of them decoded (now 0%); --workers" in text.getvalue()
    waits = [entry["waiting"] for entry in read_log(tmp_path / "run" / "log.jsonl") if "waiting" in entry]
    assert len(waits) == 6
    assert all(0 < share < 1 for share in waits)


def test_advice_says_what_is_left_to_try(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    pairs = pairs_of(photos)
    list(pairs)
    assert "--cache" not in advice(0.34, 0, pairs)
    assert "34% of the time" in advice(0.34, 0, pairs)
    assert "--workers 2" in advice(0.34, 0, pairs)
    assert "--workers 4" in advice(0.34, 2, pairs)
    assert "--workers" not in advice(0.34, 4, pairs)
