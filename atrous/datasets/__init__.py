"""Folders of images and labels as data sets, in many layouts. Nothing here imports torch."""

from atrous.datasets.dataset import DataSet, open_dataset
from atrous.datasets.folder import Folder, Layout, Pair
from atrous.datasets.layouts import LAYOUTS, find_pairs, read_folder
from atrous.datasets.pairs import Pairs, channel_statistics

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
