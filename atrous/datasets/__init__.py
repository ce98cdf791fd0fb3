"""Folders of images and masks as data sets. Nothing here imports torch."""

from atrous.datasets.layout import Pair, find_pairs
from atrous.datasets.pairs import DataSet, Pairs, channel_statistics, open_dataset

__all__ = ["DataSet", "Pair", "Pairs", "channel_statistics", "find_pairs", "open_dataset"]
