"""Folders of images and labels as data sets, in many layouts. Nothing here imports torch."""

from atrous.datasets.folder import Folder, Layout, Pair
from atrous.datasets.layouts import LAYOUTS, find_pairs, read_folder
from atrous.datasets.pairs import DataSet, Pairs, channel_statistics, open_dataset

__all__ = [
    "LAYOUTS",
    "DataSet",
    "Folder",
    "Layout",
    "Pair",
    "Pairs",
    "channel_statistics",
    "find_pairs",
    "open_dataset",
    "read_folder",
]
