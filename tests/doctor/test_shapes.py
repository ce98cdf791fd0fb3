"""What is said of files without a partner."""

from pathlib import Path

from faults import images, masks, sound_set

from atrous.doctor import examine_dataset


def test_a_mask_in_another_folder_is_moved_not_renamed(tmp_path: Path) -> None:
    root = sound_set(tmp_path / "data")
    image, mask = images(root)[3], masks(root)[3]
    (root / "train" / "masks" / "new").mkdir()
    mask.rename(root / "train" / "masks" / "new" / mask.name)
    found = {one.kind: one for one in examine_dataset(root).errors}
    assert set(found) == {"missing_mask", "missing_image"}
    assert found["missing_mask"].file == image
    assert found["missing_mask"].detail.endswith(f"; train/masks/new/{mask.name} has no image")
    assert {one.remedy for one in found.values()} == {"move the mask to the image's folder"}
