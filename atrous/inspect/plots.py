"""Write the two pictures of an inspection to files."""

from pathlib import Path

from torch import nn

from atrous.files import alone
from atrous.inspect.drawing import architecture
from atrous.inspect.inspection import Inspection
from atrous.inspect.picture import receptive_field
from atrous.io import write_image
from atrous.io.claims import refuse_foreign
from atrous.io.paths import save_bytes

NAMES = ("architecture.svg", "receptive_field.png")


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
    drawn, field = (folder / name for name in NAMES)
    shown = receptive_field(model, found)
    with alone(folder):
        save_bytes(drawn, architecture(found, title).encode(), mark=True)
        write_image(field, shown, mark=True)
    return drawn, field


def refuse_plots(folder: Path) -> None:
    """Raise a DataError if `write_plots` would lose a file that this program did not write."""
    for name in NAMES:
        refuse_foreign(folder / name)
