"""What other tools print, against the tools themselves if they are installed (extra [bench])."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atrous.labels import CITYSCAPES19
from atrous.metrics import ConfusionMatrix, InstanceIoU, category_iou
from atrous.metrics.foreign import SATURATION, Foreign

K, IGNORE = 6, 255


def case(name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(prediction, target). absent: two classes are nowhere. ignored: one is only predicted."""
    rng = np.random.default_rng({"plain": 0, "absent": 1, "ignored": 2}[name])
    top = {"plain": 6, "absent": 4, "ignored": 5}[name]
    pairs = []
    for _ in range(3):
        target = rng.integers(0, top, (4, 5)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        guess = np.where(rng.random(target.shape) < 0.3, rng.integers(0, top, target.shape), target).astype(np.uint8)
        if name == "ignored":
            target[:5, :9] = IGNORE
            guess[-4:, -4:] = 5
        pairs.append((guess, target))
    return pairs


def ours(tool: str, name: str) -> float:
    metric = Foreign(tool, K, IGNORE)
    for guess, target in case(name):
        metric.update(guess, target)
    result = metric.compute()
    assert len(result["reason"]) > 20
    return result["value"]


CASES = pytest.mark.parametrize("name", ["plain", "absent", "ignored"])


@CASES
def test_torchmetrics(name: str) -> None:
    classification = pytest.importorskip("torchmetrics.classification")
    metric = classification.MulticlassJaccardIndex(K, average="macro", ignore_index=IGNORE)
    for guess, target in case(name):
        metric.update(torch.tensor(guess), torch.tensor(target))
    assert ours("torchmetrics", name) == pytest.approx(float(metric.compute()), abs=1e-6)


@CASES
def test_smp(name: str) -> None:
    metrics = pytest.importorskip("segmentation_models_pytorch.metrics")
    guess, target = (torch.tensor(np.stack(maps)).long() for maps in zip(*case(name), strict=True))
    counts = metrics.get_stats(guess, target, mode="multiclass", num_classes=K, ignore_index=IGNORE)
    assert ours("smp", name) == pytest.approx(float(metrics.iou_score(*counts, reduction="macro")), abs=1e-6)


@CASES
def test_monai(name: str) -> None:
    metrics = pytest.importorskip("monai.metrics")
    metric = metrics.MeanIoU()
    for guess, target in case(name):
        valid = torch.tensor(target != IGNORE)
        maps = [torch.stack([(torch.tensor(labels) == k) & valid for k in range(K)]) for labels in (guess, target)]
        metric(y_pred=maps[0][None].float(), y=maps[1][None].float())
    assert ours("monai", name) == pytest.approx(float(metric.aggregate()), abs=1e-6)


@CASES
def test_nnunet(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its function for one case on arrays, then the means by its rule."""
    try:
        from nnunetv2.evaluation.evaluate_predictions import compute_tp_fp_fn_tn
    except ImportError:
        pytest.skip("nnunetv2 is not installed")
    rows = []
    for guess, target in case(name):
        row = []
        for k in range(K):
            tp, fp, fn, _ = compute_tp_fp_fn_tn(target == k, guess == k, target == IGNORE)
            row.append(np.nan if tp + fp + fn == 0 else 2 * tp / (2 * tp + fp + fn))
        rows.append(row)
    per_class = [np.nanmean(column) if not np.isnan(column).all() else np.nan for column in np.array(rows).T]
    assert ours("nnunet", name) == pytest.approx(np.mean(per_class[1:]), abs=1e-6, nan_ok=True)


@CASES
def test_mmseg_by_its_formula(name: str) -> None:
    """IoUMetric.intersect_and_union and total_area_to_metrics of 1.2.2, restated.

    The package itself cannot be installed.
    """
    totals = torch.zeros(3, K)
    for guess, target in case(name):
        keep = torch.tensor(target != IGNORE)
        p, y = torch.tensor(guess)[keep], torch.tensor(target)[keep]
        for row, labels in enumerate((p[p == y], p, y)):
            totals[row] += torch.histc(labels.float(), bins=K, min=0, max=K - 1)
    iou = totals[0] / (totals[1] + totals[2] - totals[0])
    assert ours("mmseg", name) == pytest.approx(round(float(np.nanmean(iou.numpy())) * 100, 2) / 100, abs=1e-6)


def test_float32_histograms_saturate_and_ours_does_not() -> None:
    """A 6000 x 6000 image with class 0 predicted on all but 1 %: smp says 1.0, right is 0.98990."""
    torch.set_num_threads(1)
    assert float(torch.histc(torch.zeros(25_000_000), bins=2, min=0, max=1)[0]) == SATURATION
    target = np.zeros((6000, 6000), np.uint8)
    guess = target.copy()
    guess[:60] = 1
    exact = ConfusionMatrix(2)
    exact.update(guess, target)
    assert exact.matrix[0, 0] == 5940 * 6000
    assert exact.compute()["iou"][0] == pytest.approx(0.99)
    for tool in ("smp", "mmseg"):
        other = Foreign(tool, 2, IGNORE)
        other.update(guess, target)
        assert other.compute()["value"] == pytest.approx((1.0 + 0.0) / 2), tool


def test_smp_saturates() -> None:
    """The same in the package itself, on the smallest square that shows it, on one thread."""
    metrics = pytest.importorskip("segmentation_models_pytorch.metrics")
    torch.set_num_threads(1)
    target = np.zeros((4200, 4200), np.uint8)
    guess = target.copy()
    guess[:42] = 1
    pair = [torch.from_numpy(labels)[None].long() for labels in (guess, target)]
    counts = metrics.get_stats(*pair, mode="multiclass", num_classes=2)
    assert int(counts[0][0, 0]) == SATURATION, "mended in this version of smp: say so in docs/evaluation.md"
    smp, exact = Foreign("smp", 2, IGNORE), ConfusionMatrix(2)
    smp.update(guess, target)
    exact.update(guess, target)
    assert smp.compute()["value"] == pytest.approx(float(metrics.iou_score(*counts, reduction="macro")), abs=1e-6)
    assert exact.compute()["iou"][0] == pytest.approx(0.99)


def test_absent_classes_score_one_in_smp() -> None:
    """V3: 21 classes declared, two there with IoU 2/3 and 1/2: 0.9603 for a mean of 0.583."""
    target = np.array([[0, 0, 0, 0, 0, 1, 1, 1]], np.uint8)
    guess = np.array([[0, 0, 0, 0, 1, 1, 1, 0]], np.uint8)
    smp, own = Foreign("smp", 21, IGNORE), ConfusionMatrix(21)
    smp.update(guess, target)
    own.update(guess, target)
    assert own.compute()["miou"] == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert smp.compute()["value"] == pytest.approx((4 / 6 + 2 / 4 + 19) / 21)


Street = tuple[list[Path], list[Path], list[tuple[np.ndarray, ...]]]

TRAIN_TO_ID = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


@pytest.fixture
def street(tmp_path: Path) -> Street:
    """Cityscapes-like files, and the same as train ids: (prediction, target, instances) each."""
    rng = np.random.default_rng(3)
    guesses, truths, arrays = [], [], []
    for index in range(2):
        target = rng.integers(0, 19, (5, 6)).repeat(9, 0).repeat(9, 1).astype(np.uint8)
        guess = np.where(rng.random(target.shape) < 0.2, rng.integers(0, 19, target.shape), target).astype(np.uint8)
        instances = np.zeros(target.shape, np.int32)
        instances[:, :27], instances[:, 27:45] = 1, 2  # the rest is a group
        ids = np.array([*TRAIN_TO_ID, *[0] * 237], np.uint8)
        target[:4, :20] = IGNORE
        instances[(target == IGNORE) | (target < 11)] = 0  # road to sky have no instances
        raw = np.where(instances > 0, ids[target].astype(np.int32) * 1000 + instances, ids[target])
        paths = [tmp_path / f"{index}_{kind}.png" for kind in ("pred", "gtFine_labelIds", "gtFine_instanceIds")]
        for path, array in zip(paths, (ids[guess], ids[target], raw), strict=True):
            Image.fromarray(array.astype(np.uint16) if path is paths[2] else array).save(path)
        guesses.append(paths[0])
        truths.append(paths[1])
        arrays.append((guess, target, instances))
    return guesses, truths, arrays


def test_cityscapes(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        monkeypatch.setattr(sys, "argv", ["evaluate"])
        from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as script
    except ImportError:
        pytest.skip("cityscapesscripts is not installed")
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # gone from numpy 2.4, the script still calls it
    guesses, truths, arrays = street
    script.args.quiet, script.args.JSONOutput, script.args.evalInstLevelScore = True, False, True
    result = script.evaluateImgLists([str(path) for path in guesses], [str(path) for path in truths], script.args)
    metric, instance, matrix = Foreign("cityscapes", 19, IGNORE), InstanceIoU(CITYSCAPES19.names), ConfusionMatrix(19)
    for guess, target, instances in arrays:
        metric.update(guess, target)
        instance.update(guess, target, instances)
        matrix.update(guess, target)
    assert metric.compute()["value"] == pytest.approx(result["averageScoreClasses"], abs=1e-12)
    table = np.concatenate([matrix.matrix, matrix.outside[:, None]], axis=1)
    groups = category_iou(table, CITYSCAPES19.names)
    assert groups["mean_category_iou"] == pytest.approx(result["averageScoreCategories"], abs=1e-12)
    found = dict(zip(CITYSCAPES19.names, instance.compute()["iiou"], strict=True))
    for name in ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"):
        assert found[name] == pytest.approx(result["classInstScores"][name], abs=1e-9, nan_ok=True), name
