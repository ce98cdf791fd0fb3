"""The two pictures of an inspection, as files."""

from pathlib import Path

from torch import nn

from atrous.files import write_atomically
from atrous.inspect.drawing import architecture
from atrous.inspect.inspection import Inspection
from atrous.inspect.picture import receptive_field
from atrous.io import write_image


def write_plots(model: nn.Module, found: Inspection, title: str, folder: Path) -> tuple[Path, Path]:
    """Write `architecture.svg` and `receptive_field.png` into a folder, made where it is missing, and return where.

    The second runs the network in float64 on one image. Raises OSError where the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn, field = folder / "architecture.svg", folder / "receptive_field.png"
    write_atomically(drawn, architecture(found, title).encode())
    write_image(field, receptive_field(model, found))
    return drawn, field
