"""The command line as a user meets it: the verbs end to end, and one sentence for every mistake."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import SMALL, run
from make_pairs import make_pairs
from PIL import Image
from worlds import make_world


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(data, run) of a network that saw four steps."""
    root = tmp_path_factory.mktemp("trained")
    world = make_world(root / "world")
    assert run("train", world, "-o", root / "run", *SMALL) == 0
    return world, root / "run"


def test_options_of_the_page_are_trained_kept_and_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import atrous

    world, folder = make_world(tmp_path / "world"), tmp_path / "run"
    command = ["train", world, "-o", folder, *SMALL]
    assert run(*command, "--option", "joined=false", "--option", "stride=16") == 0
    assert "joined = false" in (folder / "recipe.toml").read_text().replace('"', "")
    model = atrous.load(folder).model
    assert (model.head.joined, model.encoder.strides[-1]) == (False, 16)
    assert run(*command) == 0  # the run's own options
    assert "is finished" in capsys.readouterr().out
    assert run(*command, "--option", "joined=true") == 2
    assert "options" in capsys.readouterr().err


@pytest.mark.parametrize("code", ["import atrous", "import atrous; atrous.cli_is_lazy = 1; import atrous.cli"])
def test_importing_costs_no_torch(code: str) -> None:
    heavy = ["torch", "timm", "cv2", "numba", "rich", "lightning_fabric", "pydantic"]
    check = f"{code}; import sys; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert [m for m in json.loads(result.stdout.replace("'", '"')) if m != "rich"] == []


def test_help_imports_no_torch() -> None:
    code = "import sys; from atrous.cli import main\ntry: main(['--help'])\nfinally: assert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0
    assert all(verb in result.stdout for verb in ("demo", "train", "eval", "predict", "models"))


def test_train_leaves_a_run(trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    world, folder = trained
    assert {path.name for path in folder.iterdir()} >= {
        "model.safetensors", "recipe.toml", "log.jsonl", "metrics.json", "report.html"
    }  # fmt: skip
    assert 0 <= json.loads((folder / "metrics.json").read_text())["val"]["miou"] <= 1
    assert run("train", world, "-o", folder, *SMALL) == 0
    assert "is finished (4 steps)" in capsys.readouterr().out


def test_eval_prints_and_answers_in_json(trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    world, folder = trained
    assert run("eval", folder, world) == 0
    text = capsys.readouterr().out
    assert "on test (2 images)" in text
    assert "skipped (union)" in text
    assert run("eval", folder, world, "--split", "val", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert {"miou", "per_class", "pixel_accuracy", "policy", "interval", "split"} <= set(answer)
    assert answer["split"] == "val"
    assert list(answer["per_class"]) == ["ground", "disc", "bar"]


def test_predictions_evaluate_like_the_run_that_made_them(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, folder = trained
    alike = ["--backend", "torch"]  # as eval: the fastest one of this machine may round to bfloat16
    assert run("predict", world / "test" / "images", "--model", folder, "-o", tmp_path, *alike) == 0
    assert "2 of 2 label maps" in capsys.readouterr().out
    picture = Image.open(tmp_path / "test0.png")
    assert (picture.mode, picture.size) == ("P", (64, 48))
    assert picture.getpalette()[3:6] == [220, 40, 40]
    assert (tmp_path / "overlays" / "test1.jpg").exists()
    answers = []
    for source in (folder, tmp_path):
        assert run("eval", source, world, "--json") == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0]["miou"] == answers[1]["miou"]
    assert answers[0]["interval"] == answers[1]["interval"]


def test_report_writes_the_page_of_a_run(trained: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    world, folder = trained
    assert run("report", folder, "-o", tmp_path / "page.html") == 0
    assert str(tmp_path / "page.html") in capsys.readouterr().out
    text = (tmp_path / "page.html").read_text()
    for part in ("unet on world", 'id="calibration"', "time per image", "rests on 2 independent", "atrous train"):
        assert part in text
    moved = world.rename(world.with_name("moved"))
    try:
        assert run("report", folder) == 2
        assert "which is not there; say where it is with --data DATA" in capsys.readouterr().err
        assert run("report", folder, "--data", moved, "--split", "val", "-o", tmp_path / "val.html") == 0
    finally:
        moved.rename(world)
    assert "mIoU on <strong>val</strong>, 2 images" in (tmp_path / "val.html").read_text()


def test_one_bad_picture_does_not_stop_the_others(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, folder = trained
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    good = (world / "test" / "images" / "test0.png").read_bytes()
    (pictures / "good.png").write_bytes(good)
    (pictures / "bad.png").write_bytes(good[: len(good) // 2])
    assert run("predict", pictures, "--model", folder, "-o", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert "bad.png" in captured.err
    assert "1 of 2 label maps" in captured.out
    assert (tmp_path / "out" / "good.png").exists()
    assert run("predict", pictures / "bad.png", "--model", folder, "-o", tmp_path / "out") == 2


def test_shards_are_disjoint_and_together_all(trained: tuple[Path, Path], tmp_path: Path) -> None:
    world, folder = trained
    pictures = world / "test" / "images"
    names: list[set[str]] = []
    for number in (1, 2):
        options = ["--shard", f"{number}/2", "--flip", "--scales", "1,1.5", "--max-ram", "8GB", "--backend", "torch"]
        assert run("predict", pictures, "--model", folder, "-o", tmp_path / str(number), *options) == 0
        names.append({path.name for path in (tmp_path / str(number)).glob("*.png")})
    assert not names[0] & names[1]
    assert names[0] | names[1] == {f"{path.stem}.png" for path in pictures.iterdir()}


def test_exact_refuses_where_no_tile_equals_the_whole(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import atrous.predict.predictor as page
    from atrous.inspect import NoHalo

    monkeypatch.setattr(page, "find_halo", lambda model: NoHalo("a layer reads the whole map: mean", "aspp"))
    world, folder = trained
    assert run("predict", world / "test" / "images", "--model", folder, "-o", tmp_path / "out", "--exact") == 2
    assert "the whole map: mean (layer aspp)" in capsys.readouterr().err


def test_models_lists_every_name(capsys: pytest.CaptureFixture[str]) -> None:
    import atrous

    assert run("models", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == atrous.list_models()
    assert next(row for row in rows if row["name"] == "fcn8s")["parameters"] == 134_362_751


def _empty(world: Path) -> list[object]:
    (world / "empty").mkdir()
    return ["train", world / "empty"]


def _wrong_path(world: Path) -> list[object]:
    return ["train", world.parent / "wrold"]


def _orphan_masks(world: Path) -> list[object]:
    (world / "train" / "images" / "train0.png").unlink()
    return ["train", world]


def _orphan_images(world: Path) -> list[object]:
    (world / "train" / "masks" / "train0.png").unlink()
    return ["train", world]


def _other_size(world: Path) -> list[object]:
    Image.fromarray(np.zeros((10, 12), np.uint8)).save(world / "train" / "masks" / "train0.png")
    return ["train", world]


def _truncated(world: Path) -> list[object]:
    path = world / "train" / "images" / "train0.png"
    path.write_bytes(path.read_bytes()[:-200])
    return ["train", world]


def _colour_mask(world: Path) -> list[object]:
    array = np.random.default_rng(0).choice([0, 128], size=(48, 64, 3)).astype(np.uint8)
    Image.fromarray(array).save(world / "train" / "masks" / "train0.png")
    return ["train", world]


def _stray_value(world: Path) -> list[object]:
    Image.fromarray(np.full((48, 64), 9, np.uint8)).save(world / "train" / "masks" / "train0.png")
    return ["train", world]


def _unknown_model(world: Path) -> list[object]:
    return ["train", world, "--model", "deeplabv3pls"]


def _unknown_encoder(world: Path) -> list[object]:
    return ["train", world, "--model", "unet", "--encoder", "resnet5O"]


def _no_weights(world: Path) -> list[object]:
    return ["train", world, "--model", "unet", "--encoder", "resnet18", "--pretrained"]


def _no_weight_file(world: Path) -> list[object]:
    return ["train", world, "--model", "unet", "--encoder", "resnet18", "--encoder-weights", world / "none.safetensors"]


def _only(*splits: str):
    """A command of training on a folder that has these splits alone."""

    def arguments(world: Path) -> list[object]:
        for split in {"train", "val", "test"} - set(splits):
            shutil.rmtree(world / split)
        return ["train", world]

    return arguments


MISTAKES = {
    _only("test"): ["has test, but nothing to train on", "train/"],
    _only("val"): ["has val, but nothing to train on"],
    _only("val", "test"): ["has val and test, but nothing to train on"],
    lambda world: ["plan", *_only("test")(world)[1:]]: ["has test, but nothing to train on"],
    _empty: ["empty", "images"],
    _wrong_path: ["wrold"],
    _orphan_masks: ["train0.png"],
    _orphan_images: ["train0.png"],
    _other_size: ["train0.png", "10x12", "48x64"],
    _truncated: ["train0.png"],
    _colour_mask: ["train0.png", "colour"],
    _stray_value: ["train0.png", "9", "--ignore 9"],
    _unknown_model: ["did you mean 'deeplabv3plus'?"],
    _unknown_encoder: ["resnet5O", "resnet50"],
    _no_weights: ["resnet18", "--encoder-weights"],
    _no_weight_file: ["none.safetensors"],
    lambda world: ["train", world, "--time", "soon"]: ["--time soon", "30m"],
    lambda world: ["train", world, "--crop", "big"]: ["--crop big", "HEIGHTxWIDTH"],
    lambda world: ["train", world, "--steps", "3", "--time", "1m"]: ["--steps and --time"],
    lambda world: ["train", world, "--classes", world / "no.toml"]: ["no.toml"],
    lambda world: ["eval", world / "nothing", world]: ["nothing"],
    lambda world: ["eval", world, world]: ["label maps"],
    lambda world: ["report", world]: ["is not a trained run", "--data DATA"],
    lambda world: ["report", world / "nothing"]: ["nothing", "no such run"],
    lambda world: ["report", world, "--data", world, "-o", world]: ["-o", ".html"],
    lambda world: ["predict", world / "test" / "images", "--model", world / "run"]: ["run", "atrous train"],
    lambda world: ["predict", world / "no.jpg", "--model", world / "run"]: ["no.jpg"],
    lambda world: ["predict", world / "test" / "images", "--model", world, "--shard", "3/2"]: ["--shard 3/2", "1/4"],
    lambda world: ["predict", world / "test" / "images", "--model", world, "--scales", "1,x"]: ["--scales 1,x", "0.75"],
    lambda world: ["predict", world / "test" / "images", "--model", world, "--max-ram", "lots"]: ["--max-ram", "2GB"],
    lambda world: ["train", world, "--option", "skips"]: ["option 'skips'", "stride=8"],
    lambda world: ["train", world, "--model", "fcn", "--option", "skip=8"]: ["'skip'", "skips"],
    lambda world: ["train", world, "--option", "encoder=resnet18"]: ["'encoder'", "of its own"],
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_one_sentence(mistake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = mistake(make_world(tmp_path / "world"))
    if arguments[0] == "train":
        arguments += [
            "-o",
            tmp_path / "run",
            *(["--steps", "2"] if "--steps" not in arguments and "--time" not in arguments else []),
        ]
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()
    for part in MISTAKES[mistake]:
        assert part in error


def test_random_weights_are_announced_loudly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world(tmp_path / "world")
    arguments = [
        "train",
        world,
        "-o",
        tmp_path / "run",
        "--model",
        "unet",
        "--encoder",
        "test_resnet",
        "--steps",
        "1",
        "--crop",
        "32",
        *("--set", "precision=fp32", "--set", "channels_last=false", "--set", "fused=true"),
    ]
    assert run(*arguments) == 0
    assert "WARNING: training from random weights" in capsys.readouterr().out


def test_two_pictures_are_never_written_to_one_file(trained: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    world, folder = trained
    other = tmp_path / "other"
    other.mkdir()
    (other / "test0.png").write_bytes((world / "test" / "images" / "test0.png").read_bytes())
    assert run("predict", world / "test" / "images", other, "--model", folder, "-o", tmp_path / "out") == 2
    assert "would both be written" in capsys.readouterr().err
    assert run("predict", other, "--model", folder, "-o", other) == 2
    assert "would be read as further inputs" in capsys.readouterr().err
    assert run("predict", other / "test0.png", "--model", folder, "-o", other) == 2
    assert "would overwrite" in capsys.readouterr().err


def test_names_that_are_not_utf8_go_through_every_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world(tmp_path / os.fsdecode("\u72d7".encode("gbk")))
    for path in [path for path in world.rglob("*") if path.is_file()]:
        path.rename(path.with_name(os.fsdecode("\u72d7".encode("gbk")) + path.name))
    folder, page = tmp_path / "run", tmp_path / "page.html"
    assert run("train", world, "-o", world / "run", *SMALL) == 2
    assert "the name of this run folder is not UTF-8; give another -o" in capsys.readouterr().err
    assert run("train", world, "-o", folder, *SMALL) == 0
    assert run("train", world, "-o", folder, *SMALL) == 0
    assert run("check", world, "--html", page) in (0, 1)
    page.read_text(encoding="utf-8")
    assert run("predict", world / "val" / "images", "--model", folder, "-o", tmp_path / "maps") == 0
    assert run("eval", folder, world, "--json") == 0
    assert run("report", folder, "-o", page) == 0
    page.read_text(encoding="utf-8")


def test_a_console_that_lacks_a_letter_ends_no_verb(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a.png")
    drawn = {"label": "\u72d7", "points": [[1, 1], [5, 1], [5, 5]]}
    (tmp_path / "a.json").write_text(json.dumps({"imagePath": "a.png", "shapes": [drawn]}))
    command = [sys.executable, "-m", "atrous", "check", tmp_path]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "cp1252"})
    assert b"\\u72d7 " in done.stdout
    assert done.returncode == 0


def test_predict_writes_over_its_own_files_alone(trained: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    world, folder = trained
    picture = next((world / "test" / "images").iterdir())
    truth = tmp_path / "masks"
    (truth / "overlays").mkdir(parents=True)
    (truth / f"{picture.stem}.png").write_text("truth")
    assert run("predict", picture, "--model", folder, "-o", truth) == 2
    assert "is not from this program, or was changed since; nothing is overwritten" in capsys.readouterr().err
    (truth / f"{picture.stem}.png").rename(truth / "overlays" / f"{picture.stem}.jpg")
    assert run("predict", picture, "--model", folder, "-o", truth) == 2
    assert (truth / "overlays" / f"{picture.stem}.jpg").read_text() == "truth"
    assert [path.name for path in truth.iterdir()] == ["overlays"]
    for _ in range(2):
        assert run("predict", picture, "--model", folder, "-o", tmp_path / "out") == 0
    capsys.readouterr()
    assert run("predict", picture, "--model", folder, "-o", truth / "overlays" / f"{picture.stem}.jpg") == 2
    told = capsys.readouterr().err
    assert "a file, not a folder" in told
    assert told.count("error") == 1


WRITING: dict[str, tuple[list[str], str, list[str]]] = {
    "predict": (["PICTURE", "--model", "RUN", "--recall", "0.9", "-o"], "maps", ["STEM.png", "overlays/STEM.jpg",
                                                                             "uncertain/STEM.png"]),
    "refine": (["PROBABILITIES", "PICTURES", "--crf", "icm", "-o"], "refined", ["STEM.png"]),
    "check": (["DATA", "--html"], "page.html", ["."]),
    "report": (["RUN", "-o"], "report.html", ["."]),
    "plan": (["DATA", "--no-measure", "--no-pretrained", "-o"], "plan.toml", ["."]),
    "export": (["RUN", "-o"], "net.onnx", ["../net_run.py", "."]),
    "inspect": (["enet", "--no-measure", "--size", "64", "64", "--plot"], "plots", ["architecture.svg",
                                                                                 "receptive_field.png"]),
}  # fmt: skip
"""Verb -> (what is typed before the output, the output, the files in it that are written)."""


@pytest.mark.parametrize(
    "verb",
    [pytest.param(verb, marks=pytest.mark.slow if verb in ("inspect", "report", "export") else ()) for verb in WRITING],
)
def test_files_of_others_are_replaced_with_overwrite_alone(
    verb: str, trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Our own result is replaced without the option, unless it was changed."""
    world, folder = trained
    picture = next((world / "test" / "images").iterdir())
    (tmp_path / "probabilities").mkdir()
    np.save(tmp_path / "probabilities" / f"{picture.stem}.npy", np.full((3, 48, 64), 1 / 3, np.float32))
    if verb == "predict":
        folder = shutil.copytree(folder, tmp_path / "run")
        assert run("calibrate", folder, "--data", world) == 0
    words, name, files = WRITING[verb]
    known = {"PICTURE": picture, "PICTURES": picture.parent, "RUN": folder, "DATA": world,
             "PROBABILITIES": tmp_path / "probabilities"}  # fmt: skip
    command = [verb, *(known.get(word, word) for word in words), tmp_path / name]
    for file in files:
        path = Path(os.path.normpath(tmp_path / name / file.replace("STEM", picture.stem)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
        capsys.readouterr()
        assert run(*command) == 2
        assert f"{path}: is there already" in capsys.readouterr().err
        assert path.read_bytes() == b"mine"
        mine = path.rename(tmp_path / "mine")
    mine.rename(path)
    assert run(*command, "--overwrite") in (0, 1)
    assert path.read_bytes() != b"mine"
    assert run(*command) in (0, 1)  # ours now
    if path.suffix != ".onnx":  # its mark is a name alone
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        assert run(*command) == 2


def test_a_page_of_check_is_never_written_over_a_picture(tmp_path: Path, capsys) -> None:
    picture = make_world(tmp_path / "world") / "train" / "images" / "train0.png"
    before = picture.read_bytes()
    assert run("check", tmp_path / "world", "--html", picture) == 2
    assert "ends in .html" in capsys.readouterr().err
    assert picture.read_bytes() == before


def test_one_pair_is_trained_on_and_the_other_verbs_say_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, folder = make_pairs(tmp_path / "data", 1), tmp_path / "run"
    assert run("train", data, "-o", folder, *SMALL) == 0
    said = capsys.readouterr().out
    assert "one training pair: there is no validation" in said
    assert "report.html" not in said
    assert "mIoU -" in said
    for words, told in (
        (["compare", folder, folder], "one image; a comparison needs at least two"),
        (["calibrate", folder], "give another --split"),
        (["tune-crf", folder], "give another --split"),
        (["eval", folder, data, "--split", "val"], "has no split 'val'"),
        (["train", data, "-o", tmp_path / "folds", *SMALL, "--folds", "2"], "one training picture; folds need two"),
        (["train", data, "-o", tmp_path / "other", *SMALL, "--set", "patience=2"], "there is no val split"),
        (["predict", data / "images", "--model", folder, "--smooth", "0.5"], "--smooth 0.5: averages the frames"),
    ):
        assert run(*words) == 2
        assert told in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "run"]


@pytest.mark.parametrize("option", ["--size", "--classes", "--channels"])
@pytest.mark.parametrize("number", [2**63, 10**40])
def test_numbers_that_no_tensor_has_are_one_sentence(
    option: str, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    values = [number] * (2 if option == "--size" else 1)
    assert run("inspect", "enet", "--no-measure", option, *values) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
