import json
from pathlib import Path

import numpy as np
import torch

from atrous.bundle import Card, save_tensors
from atrous.evaluate import Evaluation, evaluate
from atrous.labels import LabelSet
from atrous.report import report_run
from atrous.report.run import choose_cases, train_command
from atrous.sample import Sample

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


def made() -> Evaluation:
    return evaluate(lambda sample: predict(sample.image), samples(), LABELS, "val")


def test_the_page_of_a_run(tmp_path: Path) -> None:
    tensors = {"w": np.zeros((1000, 20)), "n.running_mean": np.zeros(9_000_000)}

    save_tensors(tmp_path / "model.safetensors", {k: torch.from_numpy(v) for k, v in tensors.items()}, {})
    (tmp_path / "log.jsonl").write_text(json.dumps({"step": 10, "loss": 0.5, "seconds": 95.2}) + '\n{"step": 2')
    report_run(tmp_path, made(), samples(), predict, CARD, title="Mine", baseline=("nothing", np.eye(2, dtype=int)))
    text = (tmp_path / "report.html").read_text()
    assert "<h1>Mine</h1>" in text
    assert f"<dd>{made().summary()['miou']:.3f}</dd>" in text
    assert "{:.3f} to {:.3f}".format(*made().summary()["interval"]) in text
    assert "5 images" in text
    for fact in ("1 min 35 s", "0.02 million", "resnet18", "64 x 96 pixels"):
        assert f">{fact}</td>" in text
    assert "atrous eval" in text
    assert text.index("errors of p4.png") < text.index("errors of p3.png") < text.index("errors of p0.png")


def test_a_run_folder_without_log_or_bundle(tmp_path: Path) -> None:
    report_run(tmp_path, made(), samples(), predict, CARD, command="again", following=["then this"])
    text = (tmp_path / "report.html").read_text()
    assert "<svg" not in text
    assert "<code>again</code>" in text
    assert "<code>then this</code>" in text


def counts(*hits_of_two: tuple[int, int, int, int]) -> Evaluation:
    """Images by (true 0, true 1, hit 0, hit 1), 100 pixels each."""
    rows = []
    for true0, true1, hit0, hit1 in hits_of_two:
        rows.append([[true0, true1], [hit0 + true1 - hit1, hit1 + true0 - hit0], [hit0, hit1]])
    return Evaluation(LABELS, "val", np.zeros((2, 3)), np.array(rows), [str(k) for k in range(len(rows))], 0.0)


def test_cases_are_the_ends_of_the_ranking() -> None:
    result = counts(*((50, 50, 50, hit) for hit in (50, 10, 40, 20, 30)), (0, 0, 0, 0))
    assert choose_cases(result) == ([0, 2, 4], [1, 3])
    assert choose_cases(result, most=1) == ([0], [1])
    assert choose_cases(counts((50, 50, 50, 9))) == ([], [0])


def test_pictures_of_one_class_are_passed_over_where_there_are_others() -> None:
    plain, speck = (100, 0, 100, 0), (9995, 5, 9995, 0)
    assert choose_cases(counts(plain, (50, 50, 50, 10), speck, (50, 50, 50, 20))) == ([3], [1])
    assert choose_cases(counts(plain, plain)) == ([1], [0])


def test_the_command_holds_what_was_decided() -> None:
    assert train_command(CARD, Path("runs/x")) == (
        "atrous train 'my data' -o runs/x --model unet --encoder resnet18 --steps 40 --batch 4 --lr 0.001 --seed 3 "
        "--crop 64x96 --pretrained"
    )
    local = Card("unet", {}, LABELS, (0.0,), (1.0,), recipe={"weights": "w.pth"}, data="d")
    assert train_command(local, Path("r")).endswith("--encoder-weights w.pth")
