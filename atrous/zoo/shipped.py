"""Weights trained here: bundles inside the package, ready without a network.

atrous/zoo/weights/NAME.safetensors    float16 as far as it fits, at most `LARGEST` bytes, with a whole card
`scripts/publish.py` makes such a file of a finished run. What is listed is what is there.
"""

from pathlib import Path

FOLDER = Path(__file__).parent / "weights"
LARGEST = 20_000_000
"""Bytes of a file: all of them come with every installation."""


def shipped() -> dict[str, Path]:
    """Name -> bundle, sorted; {} where the package was installed without them."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}


def absence() -> str:
    """The tail of an error about an unknown name: that this installation lacks the weights, where it does."""
    return "" if shipped() else f"; this installation came without the weights that belong into {FOLDER}"
