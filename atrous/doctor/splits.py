"""Finds splits that training refuses, or that leave nothing to validate with."""

from collections.abc import Iterator

from atrous.datasets.folder import Folder
from atrous.doctor.findings import Finding


def find_splits(folder: Folder) -> Iterator[Finding]:
    """Yield no_training: no pair to train on, a split without a pair, or one pair alone."""
    if folder.faults or folder.clashes or folder.lone_images or folder.lone_masks or folder.doubles:
        return  # named already
    for split in (split for split, pairs in folder.splits.items() if not pairs):
        yield Finding(
            "no_training", "error", (folder.root,), f"the split {split} has no image with labels",
            "add images and labels, or remove the split",
        )  # fmt: skip
    training = [pairs for split, pairs in folder.splits.items() if split in ("train", "all")]
    if not training:
        yield Finding(
            "no_training", "error", (folder.root,), f"only {' and '.join(folder.splits)}, nothing to train on",
            "put images and masks into train/ as well; evaluation and prediction take this folder as it is",
        )  # fmt: skip
    elif len(training[0]) == 1 and "val" not in folder.splits:
        yield Finding(
            "no_training", "note", (training[0][0].image,), "the only pair to train on: there is no validation",
            "add more pairs, or a val folder",
        )  # fmt: skip
