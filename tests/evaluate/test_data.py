"""Training pictures are known wherever they lie: moved, renamed, converted, mixed with others."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import SMALL, run
from PIL import Image
from worlds import CLASSES, make_world, picture

import atrous
from atrous.bundle import Card, load_bundle, load_card, save_bundle
from atrous.datasets import open_dataset
from atrous.datasets.folds import fold_of
from atrous.evaluate.compare import compare_all
from atrous.evaluate.data import choose_pictures
from atrous.evaluate.seen import fingerprint_of, keep_trace, traces_of


def write(root: Path, names: list[str], seed: int = 0) -> Path:
    """Pairs without splits: images/NAME.png and masks/NAME.png, each of its own seed."""
    for number, name in enumerate(names):
        for folder, array in zip(
            ("images", "masks"), picture(np.random.default_rng((seed, number)), 48, 64), strict=True
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"{name}.png")
    (root / "classes.toml").write_text(CLASSES)
    return root


NAMES = [f"p{number}" for number in range(10)]


def card_of(data: Path, fold: tuple[int, int] | None = None) -> Card:
    """The card of a network that was trained on a folder."""
    opened = open_dataset(data) if fold is None else fold_of(open_dataset(data), *fold)
    train = opened.splits["train"]
    recipe = {"data": str(data), "fingerprint": fingerprint_of(opened.labels, train.names), "fold": fold}
    return Card("unet", {}, opened.labels, (0,), (1,), recipe=recipe, data=str(data), seen=traces_of(train))


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Card, Path, list[str]]:
    """A card, the folder, which has moved since, and the names of the pictures that were held out."""
    data = write(tmp_path / "data", NAMES)
    card = card_of(data)
    held = open_dataset(data).splits["val"].names
    return card, data.rename(tmp_path / "elsewhere"), held


def chosen(data: Path, *cards: Card, split: str | None = None) -> tuple[str, list[str], int, int | None]:
    found = choose_pictures(data, split, cards, labels=cards[0].labels)
    assert bool(found.remark) == (found.left_out > 0 or found.trained_on != 0)
    return found.split, found.pairs.names, found.left_out, found.trained_on


def test_moved_data_keep_their_held_out_share(trained: tuple[Card, Path, list[str]]) -> None:
    card, data, held = trained
    assert chosen(data, card) == ("val", held, 0, 0)
    assert chosen(data, card, split="train")[2:] == (0, 8)
    assert chosen(data, replace(card, seen=())) == ("val", held, 0, 0), "a bundle of before: by names alone"


def test_other_pictures_of_the_same_names_are_others(trained: tuple[Card, Path, list[str]], tmp_path: Path) -> None:
    assert chosen(write(tmp_path / "others", NAMES, seed=1), trained[0]) == ("all", NAMES, 0, 0)


def test_added_and_removed_pictures(trained: tuple[Card, Path, list[str]]) -> None:
    card, data, held = trained
    write(data.with_name("more"), ["new0", "new1"], seed=2)
    for folder in ("images", "masks"):
        for name in ("new0", "new1"):
            (data.with_name("more") / folder / f"{name}.png").rename(data / folder / f"{name}.png")
    assert chosen(data, card) == ("val", sorted([*held, "new0", "new1"]), 8, 0)
    here = replace(card, recipe={**card.recipe, "data": str(data)})
    assert chosen(data, here) == ("val", sorted([*held, "new0", "new1"]), 8, 0), "at the same place too"
    for name in held:
        for folder in ("images", "masks"):
            (data / folder / f"{name}.png").unlink()
    assert chosen(data, card) == ("val", ["new0", "new1"], 8, 0)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "jpg"])
def test_renamed_and_converted_pictures(trained: tuple[Card, Path, list[str]], tmp_path: Path, suffix: str) -> None:
    card, data, held = trained
    copy = tmp_path / "copy"
    for folder in ("images", "masks"):
        (copy / folder).mkdir(parents=True)
    for name in NAMES:
        Image.open(data / "images" / f"{name}.png").save(copy / "images" / f"scan_{name}.{suffix}")
        shutil.copy(data / "masks" / f"{name}.png", copy / "masks" / f"scan_{name}.png")
    assert chosen(copy, card) == ("val", [f"scan_{name}" for name in held], 8, 0)


def test_scaled_pictures_of_the_same_names(trained: tuple[Card, Path, list[str]]) -> None:
    card, data, held = trained
    for name in NAMES:
        for folder, how in (("images", Image.Resampling.BILINEAR), ("masks", Image.Resampling.NEAREST)):
            path = data / folder / f"{name}.png"
            Image.open(path).resize((96, 72), how).save(path)
    assert chosen(data, card) == ("val", held, 0, 0)


def test_training_pictures_in_another_split(trained: tuple[Card, Path, list[str]], tmp_path: Path) -> None:
    card, data, held = trained
    for split, names in (("train", NAMES[:4]), ("test", NAMES[4:])):
        for folder in ("images", "masks"):
            (tmp_path / "split" / split / folder).mkdir(parents=True)
            for name in names:
                shutil.copy(data / folder / f"{name}.png", tmp_path / "split" / split / folder)
    left = [name for name in held if name in NAMES[4:]]
    assert chosen(tmp_path / "split", card) == ("test", left, 6 - len(left), 0)
    for name in held:  # then nothing else is there: it is judged, and said
        for path in (tmp_path / "split").rglob(f"{name}.png"):
            path.unlink()
    found = choose_pictures(tmp_path / "split", "test", [card], labels=card.labels)
    assert (found.left_out, found.trained_on) == (0, len(found.pairs))
    assert f"{len(found.pairs)} of the {len(found.pairs)} judged pictures were trained on" in found.remark


def test_what_an_old_bundle_cannot_say_is_said(trained: tuple[Card, Path, list[str]], tmp_path: Path) -> None:
    old = replace(trained[0], seen=())
    others = write(tmp_path / "others", [*NAMES, "new"])
    assert chosen(others, old) == ("all", sorted([*NAMES, "new"]), 0, None)
    assert choose_pictures(others, None, [Card("unet", {}, old.labels, (0,), (1,))], labels=old.labels).remark == ""


def test_networks_together_are_judged_on_what_none_has_seen(trained: tuple[Card, Path, list[str]]) -> None:
    card, data, held = trained
    other = replace(
        card, recipe={**card.recipe, "fingerprint": "other"}, seen=traces_of(open_dataset(data).splits["val"][:1])
    )
    assert chosen(data, card, other) == ("val", held[1:], 1, 0)
    assert chosen(data, card, card) == ("val", held, 0, 0)


def test_a_fold_that_moved_keeps_its_pictures(tmp_path: Path) -> None:
    data = write(tmp_path / "data", NAMES)
    cards = [card_of(data, (fold, 2)) for fold in (1, 2)]
    moved = data.rename(tmp_path / "moved")
    parts = [chosen(moved, card) for card in cards]
    assert [(part[0], len(part[1]), *part[2:]) for part in parts] == [("val", 5, 0, 0)] * 2
    assert sorted(parts[0][1] + parts[1][1]) == NAMES


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, folder = write(tmp_path / "data", NAMES), tmp_path / "run"
    assert run("train", data, "-o", folder, *SMALL) == 0
    capsys.readouterr()
    assert run("eval", folder, data, "--json") == 0
    before = json.loads(capsys.readouterr().out)
    moved = data.rename(tmp_path / "moved")
    assert run("eval", folder, moved, "--json") == 0
    after, err = capsys.readouterr()
    assert {**json.loads(after), "seconds": 0} == {**before, "seconds": 0}
    assert (before["split"], before["images"], before["trained_on"], before["left_out"]) == ("val", 2, 0, 0)
    assert "warning" not in err
    assert run("eval", folder, moved, "--split", "train") == 0
    out, err = capsys.readouterr()
    assert [line for line in err.splitlines() if "8 of the 8 judged pictures were trained on" in line]
    assert "trained on" not in out
    assert run("calibrate", folder, "--data", moved, "--json") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 2
    assert run("calibrate", folder, "--data", moved, "--split", "train") == 2
    assert "was trained on the pictures of `train` (8 of 8)" in capsys.readouterr().err
    result = compare_all([str(folder), str(moved / "masks")], moved)
    assert (result["images"], result["scores"][str(moved / "masks")]) == (2, 1.0), "label maps beside a network"
    old, model = tmp_path / "old.safetensors", load_bundle(folder / "model.safetensors")[0]
    save_bundle(old, model, replace(load_card(folder / "model.safetensors"), seen=()))
    world = make_world(tmp_path / "world")
    assert run("eval", old, world, "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["trained_on"] is None
    assert "is not known" in err
    assert "is not known" in json.loads(out)["warnings"][-1]


def test_pictures_that_were_verified_are_not_read_again_for_their_traces(tmp_path: Path) -> None:
    data = open_dataset(write(tmp_path, NAMES), cache_mb=0)
    expected = traces_of(open_dataset(tmp_path).splits["train"])
    data.verify(visit=lambda split, pair, sample: keep_trace(data.splits[split], pair, sample))
    shutil.rmtree(tmp_path / "images")
    assert traces_of(data.splits["train"]) == expected


def test_data_without_a_split_are_trained_on_to_the_end(tmp_path: Path) -> None:
    data = open_dataset(write(tmp_path / "data", NAMES), holdout=0)
    segmenter = atrous.Segmenter("unet", "test_resnet", pretrained=False, crop=(32, 32), batch=2)
    segmenter.fit(data, steps=1, out=tmp_path / "run")
    assert len(segmenter.card.seen) == len(data.splits["all"]) == len(NAMES)
