"""Write the two pictures of an inspection to files."""

from pathlib import Path

from torch import nn

from atrous.files import write_atomically
from atrous.inspect.drawing import architecture
from atrous.inspect.inspection import Inspection
from atrous.inspect.picture import receptive_field
from atrous.io import write_image


def write_plots(model: nn.Module, found: Inspection, title: str, folder: Path) -> tuple[Path, Path]:
    """Write `architecture.svg` and `receptive_field.png` into a folder.

    Args:
        model: The inspected network. It runs in float64 on one image for the second picture.
        found: What `inspect_model` found.
        title: Heading of the first picture.
        folder: It is made if it does not exist.

    Returns:
        The paths of the two files, in the order above.

    Raises:
        OSError: The folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn, field = folder / "architecture.svg", folder / "receptive_field.png"
    write_atomically(drawn, architecture(found, title).encode())
    write_image(field, receptive_field(model, found))
    return drawn, field
