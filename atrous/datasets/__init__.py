"""Folders of images and their labels as data sets, in every layout of `datasets.source`. Nothing here imports torch."""

from atrous.datasets.pairs import DataSet, Pairs, channel_statistics, open_dataset
from atrous.datasets.source import LAYOUTS, find_pairs, open_source
from atrous.datasets.tree import Layout, Pair, Source

__all__ = [
    "LAYOUTS",
    "DataSet",
    "Layout",
    "Pair",
    "Pairs",
    "Source",
    "channel_statistics",
    "find_pairs",
    "open_dataset",
    "open_source",
]
