"""Folders of images and labels as data sets; `datasets.layouts` lists the layouts. Nothing here imports torch."""

from atrous.datasets.folder import Layout, Pair, Source
from atrous.datasets.layouts import LAYOUTS, find_pairs, open_source
from atrous.datasets.pairs import DataSet, Pairs, channel_statistics, open_dataset

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
