"""Using a trained network: raw image in, prediction out."""

from atrous.predict.prediction import Prediction
from atrous.predict.predictor import Predictor

__all__ = ["Prediction", "Predictor"]
