"""Label Studio's brushes as PNG."""

from pathlib import Path

import numpy as np
import pytest
from make_layouts import image, save

from atrous.datasets import read_folder
from atrous.errors import DataError


@pytest.mark.parametrize("folder", ["", "masks", "project-1"])
def test_brushes_as_png_are_named(tmp_path: Path, folder: str) -> None:
    save(image(0), tmp_path / "images" / "0a1b2c3d-a.png")
    save(np.eye(20, 28, dtype=np.uint8) * 255, tmp_path / folder / "task-3-annotation-7-by-1-tag-cat-0.png")
    with pytest.raises(
        DataError, match=r"tag-cat-0.png: a brush that Label Studio exported as PNG, .* export it again"
    ):
        read_folder(tmp_path)
