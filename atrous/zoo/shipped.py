"""Weights trained here: bundles inside the package, which need no download.

atrous/zoo/weights/NAME.safetensors    float16 where the values fit, at most `LARGEST` bytes

Each has a complete card. `scripts/publish.py` makes such a file from a finished run.
The list is what the folder holds.
"""

from pathlib import Path

FOLDER = Path(__file__).parent / "weights"
LARGEST = 20_000_000
"""The most bytes a file may have, because every installation downloads all of them."""


def shipped() -> dict[str, Path]:
    """Name -> path of the bundle, sorted by name; {} if the package was installed without them."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}


def absence() -> str:
    """The end of an error about an unknown name; "" unless this installation lacks the weights."""
    return "" if shipped() else f"; this installation came without the weights that belong in {FOLDER}"
