"""Using a trained network: raw image in, prediction out."""

from atrous.predict.prediction import Prediction
from atrous.predict.predictor import Predictor
from atrous.predict.windows import Cutting

__all__ = ["Cutting", "Prediction", "Predictor"]
