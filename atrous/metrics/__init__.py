"""How good is it: numbers with their conventions named. A metric has update, merge and compute, or is a function."""

from atrous.metrics.boundary import BoundaryF, BoundaryIoU, TrimapCurve
from atrous.metrics.calibration import Calibration
from atrous.metrics.cityscapes import InstanceIoU, category_iou
from atrous.metrics.confusion import ConfusionMatrix, scores
from atrous.metrics.errors import ErrorKinds
from atrous.metrics.regions import cl_dice, lesion_f1, partition_scores
from atrous.metrics.surface import SurfaceScores

__all__ = [
    "BoundaryF",
    "BoundaryIoU",
    "Calibration",
    "ConfusionMatrix",
    "ErrorKinds",
    "InstanceIoU",
    "SurfaceScores",
    "TrimapCurve",
    "category_iou",
    "cl_dice",
    "lesion_f1",
    "partition_scores",
    "scores",
]
