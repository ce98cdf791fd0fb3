import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run as command
from runs import COMMAND
from worlds import make_world

from atrous.bundle import Card, load_card, save_tensors
from atrous.evaluate.evaluation import Evaluation, evaluate
from atrous.labels import LabelSet
from atrous.report import EvaluatedRun, make_report, report_run, train_command
from atrous.report.build import choose_cases, facts
from atrous.sample import Sample
from atrous.train.recipe import Recipe

LABELS = LabelSet(("ground", "disc"))
RECIPE = {"encoder": "resnet18", "steps": 40, "batch": 4, "crop": (64, 96), "lr": 0.001, "seed": 3,
          "weights": "pretrained", "optimizer": "adamw"}  # fmt: skip
CARD = Card("unet", {}, LABELS, (0.0,), (1.0,), recipe=RECIPE, data="my data")


def samples(count: int = 5) -> list[Sample]:
    """Pictures that show their own truth, but for more and more rows of it."""
    found = []
    for k in range(count):
        mask = np.zeros((20, 20), np.uint8)
        mask[:, 10:] = 1
        image = mask.copy()
        image[: 3 * k] = 0
        found.append(Sample(image[..., None], mask, path=Path(f"p{k}.png")))
    return found


def predict(image: np.ndarray) -> np.ndarray:
    return image[..., 0]


def made(count: int = 5) -> Evaluation:
    return evaluate(lambda sample: predict(sample.image), samples(count), LABELS, "val")


def bundle(folder: Path) -> None:
    """A file of 20 000 weights, and of statistics that are none."""
    tensors = {"w": np.zeros((1000, 20)), "n.running_mean": np.zeros(9_000)}
    save_tensors(folder / "model.safetensors", {k: torch.from_numpy(v) for k, v in tensors.items()}, {})


def test_the_page_of_a_run(tmp_path: Path) -> None:
    bundle(tmp_path)
    (tmp_path / "log.jsonl").write_text(json.dumps({"step": 10, "loss": 0.5, "seconds": 95.2}) + '\n{"step": 2')
    report_run(tmp_path, made(), samples(), predict, CARD, title="Mine", baseline=("nothing", np.eye(2, dtype=int)))
    text = (tmp_path / "report.html").read_text()
    assert "<h1>Mine</h1>" in text
    assert f"<dd>{made().summary()['miou']:.3f}</dd>" in text
    assert "{:.3f} to {:.3f}".format(*made().summary()["interval"]) in text
    assert "5 images" in text
    for fact in ("1 min 35 s", "0.02 million", "0.2 MB", "resnet18", "64 x 96 pixels"):
        assert f">{fact}</td>" in text
    for words in ("atrous train", "atrous eval", "atrous report"):
        assert words in text
    assert "rests on 5 independent groups" in text
    shown = [text.index(f"kinds of errors: p{k}.png") for k in (4, 3, 0, 1, 2)]
    assert shown == sorted(shown), "worst first, then the others in their order"


def test_a_run_folder_without_log_or_bundle(tmp_path: Path) -> None:
    report_run(tmp_path, made(), samples(), predict, CARD, command="again", following=["then this"])
    text = (tmp_path / "report.html").read_text()
    assert "<svg" not in text
    assert "<code>again</code>" in text
    assert "<code>then this</code>" in text


def test_cases_are_predicted_one_after_the_other_when_the_page_is_written() -> None:
    asked: list[str] = []

    def answer(sample: Sample) -> np.ndarray:
        asked.append(str(sample.path))
        return predict(sample.image)

    report = make_report([EvaluatedRun(name, made(), answer, Path(name)) for name in "ab"], samples())
    assert asked == []
    first = next(iter(report.worst))
    assert asked == ["p4.png", "p4.png"]
    assert first.name == "p4.png"
    assert list(first.scores) == [made().image_scores()[4]] * 2
    np.testing.assert_array_equal(first.truth, samples()[4].mask)


def test_what_a_prediction_took_is_said_with_what_it_ran_on(tmp_path: Path) -> None:
    bundle(tmp_path)
    result = replace(made(), predict_seconds=[0.9, 0.1, 0.12, 0.1, 0.1], sizes=[(20, 20)] * 4 + [(30, 40)])
    told = facts(EvaluatedRun("r", result, lambda sample: sample.image, tmp_path, CARD))
    assert told["time per image"].startswith("100 ms, median of 5 images of 20 x 20 to 30 x 40 pixels, on ")
    assert "thread" in told["time per image"] or torch.cuda.is_available()
    assert "time per image" not in facts(
        EvaluatedRun("r", counts((1, 1, 1, 1)), lambda sample: sample.image, tmp_path, CARD)
    )
    maps = facts(EvaluatedRun("maps", result, lambda sample: sample.image, tmp_path))
    assert "time per image" not in maps, "reading a file is no prediction"
    assert "parameters" not in maps


def counts(*hits_of_two: tuple[int, int, int, int]) -> Evaluation:
    """Images by (true 0, true 1, hit 0, hit 1), 100 pixels each."""
    rows = []
    for true0, true1, hit0, hit1 in hits_of_two:
        rows.append([[true0, true1], [hit0 + true1 - hit1, hit1 + true0 - hit0], [hit0, hit1]])
    return Evaluation(LABELS, "val", np.zeros((2, 3)), np.array(rows), [str(k) for k in range(len(rows))], 0.0)


def test_the_worst_cases_are_the_lower_end_and_the_random_ones_the_rest() -> None:
    result = counts(*((50, 50, 50, hit) for hit in (50, 10, 40, 20, 30)), (0, 0, 0, 0))
    assert choose_cases([result]) == ([1, 3], [0, 2, 4]), "the image without a labelled pixel is in neither"
    assert choose_cases([counts((50, 50, 50, 9))]) == ([0], [])


def test_random_cases_do_not_change_and_leave_out_the_worst() -> None:
    rng = np.random.default_rng(1)
    result = counts(*((50, 50, 50, int(hit)) for hit in rng.integers(0, 51, 400)))
    worst, random = choose_cases([result])
    assert (worst, random) == choose_cases([result])
    assert len(worst) == len(set(random)) == 12
    assert not set(worst) & set(random)
    assert random == sorted(random)
    assert max(random) - min(random) > 200, "from all over the split"
    scores = result.image_scores()
    assert scores[worst].tolist() == sorted(scores)[:12]


def test_of_several_runs_the_mean_says_which_cases_are_worst() -> None:
    one, other = counts((50, 50, 50, 10), (50, 50, 50, 20), (50, 50, 50, 50)), counts(
        (50, 50, 50, 40), (50, 50, 50, 5), (50, 50, 50, 50))  # fmt: skip
    assert choose_cases([one])[0] == [0]
    assert choose_cases([one, other])[0] == [1]


def test_pictures_of_one_class_are_not_among_the_worst_where_there_are_others() -> None:
    plain, speck = (100, 0, 100, 0), (9995, 5, 9995, 0)
    assert choose_cases([counts(plain, (50, 50, 50, 10), speck, (50, 50, 50, 20))]) == ([1], [0, 2, 3])
    assert choose_cases([counts(plain, plain)])[0] == [0]


def test_the_command_holds_what_was_decided() -> None:
    assert train_command(CARD, Path("runs/x")) == (
        "atrous train 'my data' -o runs/x --model unet --encoder resnet18 --steps 40 --batch 4 --lr 0.001 --seed 3 "
        "--crop 64x96 --pretrained"
    )
    local = Card("unet", {}, LABELS, (0.0,), (1.0,), recipe={"weights": "w.pth"}, data="d")
    assert train_command(local, Path("r")).endswith("--encoder-weights w.pth")


MIXES = {
    "plain": [],
    "as by default": [
        *("--set", "scale=[0.5,2.0]", "--set", "encoder_lr=1.0", "--set", "class_weights=[]", "--set", "hue=5.0"),
        *("--set", "aux_weight=0.3", "--ignore", "2"),
    ],
    "many": [
        *("--set", "rotate=10", "--set", "shear=3", "--set", "gamma=0.2", "--set", "cutmix=0.3", "--set", "warmup=2"),
        *("--set", "loss=ce + 0.5 * dice(squared=true)", "--set", "freeze=norms", "--set", "freeze_steps=1"),
        *("--set", "optimizer=sgd", "--lr", "0.003", "--seed", "7", "--option", "joined=false", "--set", "stride=32"),
    ],
    "extended": ["--set", "patience=9"],
    "folds": ["--folds", "2"],
}


@pytest.mark.parametrize(
    "mix",
    [
        pytest.param(mix, marks=pytest.mark.slow if mix in ("as by default", "extended", "folds") else ())
        for mix in MIXES
    ],
)
def test_the_command_makes_the_recipe_again(mix: str, tmp_path: Path) -> None:
    data, run = make_world(tmp_path / "my 'data' $HOME"), tmp_path / "a run"
    train = ["train", data, "-o", run, *COMMAND, "--steps", "2", *MIXES[mix]]
    assert command(*train) == 0
    if mix == "extended":
        assert command("train", data, "-o", run, "--extend", "2") == 0
        assert command("train", data, "-o", run, "--extend", "1") == 0
    inside = "fold-2" if mix == "folds" else ""
    card = load_card(run / inside / "model.safetensors")
    for words in train_command(card, tmp_path / "b run" / inside).split(" && "):
        assert command(*shlex.split(words)[1:]) == 0
    made = [Recipe.load(folder / inside / "recipe.toml") for folder in (run, tmp_path / "b run")]
    assert made[0] == made[1]
