"""Files of volumes to label maps on their grids: OUT/<case>.nii.gz, or one file of any kind."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from atrous.datasets.volumes import case_name
from atrous.errors import AtrousError, DataError
from atrous.io import write_image
from atrous.io.scans import open_volume
from atrous.io.volumes import WRITTEN
from atrous.predict.volume import SEG, VolumePredictor
from atrous.progress import Over


def volume_targets(paths: Sequence[Path], out: Path) -> dict[Path, list[Path]]:
    """Volume -> the files that will be written for it: its labels, and a picture of the slice that shows most.

    Raises:
        DataError: `out` is one file, but there are several volumes.
    """
    if out.name.lower().endswith((*WRITTEN, SEG)):
        if len(paths) > 1:
            raise DataError(f"{out}: one file for {len(paths)} volumes; give -o a folder")
        return {paths[0]: [out]}
    return {path: [out / f"{case_name(path.name)}.nii.gz", out / "overlays" / f"{case_name(path.name)}.jpg"]
            for path in paths}  # fmt: skip


def predict_volumes(
    predictor: VolumePredictor, targets: Mapping[Path, Sequence[Path]], *, progress: Over | None = None
) -> tuple[int, list[str]]:
    """Label volumes one by one. One that fails is named, and the others are done.

    Args:
        targets: as `volume_targets` gives them.
        progress: see `atrous.progress.Over`.

    Returns:
        How many were done, and a sentence for each that failed.
    """
    failed = []
    for path in progress(targets, len(targets)) if progress else targets:
        labels, *overlay = targets[path]
        try:
            prediction = predictor(open_volume(path))
            prediction.save(labels)
            for picture in overlay:
                write_image(picture, prediction.overlay_array(), mark=True)
        except AtrousError as error:
            failed.append(str(error) if str(path) in str(error) else f"{path}: {error}")
    return len(targets) - len(failed), failed
