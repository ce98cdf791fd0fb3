"""How good is a segmentation: scores whose conventions are named.

A score over a data set is a class with `update` (add one picture), `merge` (add another process's
sums) and `compute` (the numbers so far). A score of one pair of masks is a function.
"""

from atrous.metrics.boundary import BoundaryF, BoundaryIoU, TrimapCurve
from atrous.metrics.calibration import Calibration
from atrous.metrics.cityscapes import InstanceIoU, category_iou
from atrous.metrics.confusion import ConfusionMatrix, scores
from atrous.metrics.errors import ErrorKinds
from atrous.metrics.regions import cl_dice, lesion_f1, partition_scores
from atrous.metrics.surface import SurfaceScores, label_surface_scores
from atrous.metrics.volumes import VolumeScores

__all__ = [
    "BoundaryF",
    "BoundaryIoU",
    "Calibration",
    "ConfusionMatrix",
    "ErrorKinds",
    "InstanceIoU",
    "SurfaceScores",
    "TrimapCurve",
    "VolumeScores",
    "category_iou",
    "cl_dice",
    "label_surface_scores",
    "lesion_f1",
    "partition_scores",
    "scores",
]
