"""How a Prediction shows itself, and goes from one process to another."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atrous import LabelSet, Prediction, load


def prediction(shares: dict[str, int]) -> Prediction:
    """One row of pixels, so many of each class."""
    labels = np.repeat(np.arange(len(shares)), list(shares.values()))[None].astype(np.uint8)
    image = np.zeros((*labels.shape, 3), np.uint8)
    colours = tuple((10 * k, 1, 2) for k in range(len(shares)))
    return Prediction(labels, LabelSet(tuple(shares), colours=colours), image, lambda: np.zeros((1, 1, 1), np.float32))


def test_text_names_the_three_largest_classes() -> None:
    assert repr(prediction({"a": 1, "b": 6, "c": 2, "d": 1})) == "Prediction(1x10: b 60%, c 20%, a 10%)"


def test_a_notebook_shows_picture_and_legend() -> None:
    page = prediction({"<sky>": 3, "road": 1, "none": 0})._repr_html_()
    assert page.startswith('<img src="data:image/jpeg;base64,')
    assert "&lt;sky&gt; 75.0%" in page
    assert "road 25.0%" in page
    assert "none" not in page, "classes without a pixel are left out"
    assert re.findall(r"rgb\((\d+), 1, 2\)", page) == ["0", "10"]


def test_the_legend_is_short_where_classes_are_many() -> None:
    page = prediction({f"class{k:02}": 20 - k for k in range(15)})._repr_html_()
    assert "class11" in page
    assert "class12" not in page
    assert "and 3 more" in page


@pytest.mark.parametrize("how", [{}, {"window": 32}, {"refine": "icm"}, {"flip": True}], ids=str)
def test_a_prediction_can_be_sent_to_another_process(trained: tuple[Path, Path], how: dict[str, Any]) -> None:
    segmenter = load(trained[1], **how)
    prediction = segmenter.predict(np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8))
    sent = pickle.dumps(prediction)
    assert len(sent) < sum(one.nbytes for one in segmenter.model.state_dict().values()) or how  # no network in it
    same = pickle.loads(sent)
    assert np.array_equal(same.labels, prediction.labels)
    assert np.array_equal(same.logits, prediction.logits)
    assert np.array_equal(same.probabilities, prediction.probabilities)
    assert np.array_equal(same.overlay_array(), prediction.overlay_array())


FORKING = """
import os, sys
import numpy as np, torch
from multiprocessing import get_context
import atrous

torch.set_num_threads(2)
segmenter = atrous.load(sys.argv[1])
photo = np.random.default_rng(0).integers(0, 256, (192, 256, 3)).astype(np.uint8)
seen = segmenter.predict(photo).labels

def again(how):
    return atrous.load(sys.argv[1], **how).predict(photo) if how else segmenter.predict(photo)

with get_context("fork").Pool(1) as pool:
    for how in {}, {"window": 128}, {"refine": "crf"}:
        found = pool.apply_async(again, (how,)).get(timeout=60)
        assert np.array_equal(found.labels, again(how).labels)
assert torch.get_num_threads() == 2
print("equal")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no process")
def test_a_forked_process_predicts(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """OpenMP's threads do not come along; numba would end the process, torch would wait for ever."""
    (tmp_path / "forking.py").write_text(FORKING)
    one_thread = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {key: value for key, value in os.environ.items() if key not in one_thread}
    command = [sys.executable, tmp_path / "forking.py", trained[1]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.stdout == "equal\n", done.stderr
