"""A new architecture touches its page, the dictionary, a row of parity, and a card where there are weights."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PAGE = '''"""Pointwise: the deepest features, scored by two 1x1.

    network    year  arXiv  what is in it
    Pointwise  2099  -      a 1x1, ReLU, dropout, a 1x1

Axes: N images, C channels, H x W pixels, K classes.
"""

from torch import nn

from atrous import encoders
from atrous.models.options import Count, Pretrained, Share, Stride
from atrous.models.page import On, Page, fcn_aux


def pointwise(
    classes: Count = 21,
    *,
    encoder: str = "resnet18",
    in_channels: Count = 3,
    pretrained: Pretrained = False,
    stride: Stride = 8,
    channels: Count = 64,
    dropout: Share = 0.1,
    aux: bool = False,
) -> Page:
    """A 1x1 of `channels`, dropout and a 1x1 on any encoder."""
    net = encoders.encoder(encoder, in_channels=in_channels, stride=stride, pretrained=pretrained)
    reduce = nn.Sequential(nn.Conv2d(net.channels[-1], channels, 1), nn.ReLU(), nn.Dropout(dropout))
    head = On(-1, reduce=reduce, score=nn.Conv2d(channels, classes, 1))
    return Page(net, head, classes, fcn_aux(net, classes) if aux else None)
'''

TOUCHES = (
    ("atrous/models/__init__.py", "    pointrend,\n", "    pointrend,\n    pointwise,\n"),
    (
        "atrous/models/__init__.py",
        '    "pointrend": pointrend.pointrend,\n',
        '    "pointrend": pointrend.pointrend,\n    "pointwise": pointwise.pointwise,\n',
    ),
    ("tests/models/test_parity.py", "COUNTS = [\n", 'COUNTS = [\n    ("pointwise", {"classes": 2}, 11_209_474),\n'),
)
"""File, what it says, what it says then."""

ASK = """
import pytest
import torch

import atrous
from atrous.errors import ModelError
from atrous.models import describe_models


def test_it_is_a_model_as_the_others():
    assert "pointwise" in atrous.list_models()
    told = next(row for row in describe_models() if row["name"] == "pointwise")
    assert (told["page"], told["encoder"]) == ("atrous/models/pointwise.py", "resnet18"), told
    model = atrous.create_model("pointwise", classes=2, encoder="test_resnet").eval()
    assert model(torch.zeros(1, 3, 33, 65)).shape == (1, 2, 33, 65)
    with pytest.raises(ModelError, match="^channels of pointwise is 0; give a whole number from 1 on$"):
        atrous.create_model("pointwise", channels=0)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and its tests elsewhere, with the new page in it."""
    weights_and_half_written = shutil.ignore_patterns("*.safetensors", "*.pyc.*", "*.nbi.*", "*.nbc.*")
    for part in ("atrous", "tests"):  # with what Python and numba compiled, which costs most of this test
        shutil.copytree(ROOT / part, tmp_path / part, ignore=weights_and_half_written)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests" / "models" / "test_pointwise.py").write_text(ASK)
    (tmp_path / "atrous" / "models" / "pointwise.py").write_text(PAGE)
    for name, old, new in TOUCHES:
        text = (tmp_path / name).read_text()
        assert text.count(old) == 1
        (tmp_path / name).write_text(text.replace(old, new))
    return tmp_path


def run(copy: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_a_model_is_added_by_its_page_a_line_and_a_row(copy: Path) -> None:
    names = ("constants", "contract", "options", "outputs", "parity", "pointwise")
    files = [f"tests/models/test_{name}.py" for name in names]
    said = run(copy, "-m", "pytest", "-vv", "-p", "no:cacheprovider", "-k", "pointwise or names", *files)
    assert said.count("[pointwise") >= 12
    for test in ("parameters_are_as_many_as_published", "a_page_without_a_row_drops_what_its_options_say"):
        assert f"test_{test}[pointwise" in said
