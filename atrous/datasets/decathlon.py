"""Medical Segmentation Decathlon: volumes, listed in dataset.json.

ROOT/imagesTr/liver_1.nii.gz
ROOT/labelsTr/liver_1.nii.gz
ROOT/dataset.json    {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"},
                      "training": [{"image": "./imagesTr/liver_1.nii.gz",
                                    "label": "./labelsTr/liver_1.nii.gz"}], "test": [...]}

Several modalities are the fourth axis of one file. The test images have no labels and are left out.
The copies of nnU-Net v1 (`liver_1_0000.nii.gz`) are found too.

Source: medicaldecathlon.com, the dataset.json of the data.
"""

import os
from pathlib import Path

from atrous.datasets.folder import Folder, Pair, Readers, load_json
from atrous.datasets.naming import Named
from atrous.datasets.nnunet import FIRST, Channels, case_mask, labels_from_json
from atrous.errors import DataError
from atrous.io import IMAGE_SUFFIXES
from atrous.io.volumes import VOLUME_SUFFIXES, is_volume

LACKS = "dataset.json with modality and training, imagesTr/ and labelsTr/"


def recognise(root: Path) -> str | None:
    """By the Decathlon's list in dataset.json."""
    file = root / "dataset.json"
    content = load_json(file) if os.path.isfile(file) else None
    if isinstance(content, dict) and isinstance(content.get("training"), list) and "labels" in content:
        return "dataset.json lists images and labels under `training`, as the Medical Decathlon's does"
    return None


def read(root: Path) -> Folder:
    """Read the listed pairs; missing files are faults."""
    file = root / "dataset.json"
    content = load_json(file)
    labels, notes = labels_from_json(content, file)
    pairs, faults, clashes = [], [], []
    named = Named(root, suffixes=(*VOLUME_SUFFIXES, *IMAGE_SUFFIXES))
    for entry in content["training"]:
        if not isinstance(entry, dict) or not {"image", "label"} <= set(entry):
            raise DataError(f"{file}: the training entry {entry!r}; expected an image and a label, correct the entry")
        image, mask = Path(str(entry["image"])), Path(str(entry["label"]))
        images, masks = named.find(str(image)) or named.find(str(_first_channel(image))), named.find(str(mask))
        for path, found in (image, images), (mask, masks):
            if not found:
                faults.append(
                    (root / path, "no such file, but dataset.json names it; add the file or delete the entry")
                )
            elif len(found) > 1:
                both = " or ".join(str(path.relative_to(root)) for path in found[:2])
                clashes.append((file, f"{path} may be {both}; correct the entry"))
        if len(images) == len(masks) == 1:
            pairs.append(Pair(images[0], masks[0]))
    ending = next((end for end in VOLUME_SUFFIXES if pairs and pairs[0].image.name.endswith(end)), "")
    channels = Channels(ending)
    return Folder(
        "decathlon", recognise(root) or "", root, {"all": sorted(pairs, key=lambda pair: pair.image)}, labels, notes,
        faults, clashes, dimensions=3 if not pairs or is_volume(pairs[0].mask) else 2,
        readers=Readers(channels.image, case_mask, channels.size),  # type: ignore[arg-type]
    )  # fmt: skip


def _first_channel(image: Path) -> Path:
    """Name the file of the first channel: liver_1.nii.gz -> liver_1_0000.nii.gz."""
    stem, dot, ending = image.name.partition(".")
    return image.with_name(f"{stem}{FIRST}{dot}{ending}")
