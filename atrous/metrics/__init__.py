"""How good is it: numbers with their conventions named."""

from atrous.metrics.confusion import ConfusionMatrix, scores

__all__ = ["ConfusionMatrix", "scores"]
