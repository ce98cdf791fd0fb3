"""Volumes on their way into a network and back: the form that it sees, and how files are brought to it."""

from atrous.volumes.form import Channel, VolumeForm
from atrous.volumes.prepare import Placement, prepare

__all__ = ["Channel", "Placement", "VolumeForm", "prepare"]
