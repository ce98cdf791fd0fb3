"""What can go wrong, as a tree. A message is one sentence: which file, what was given, what is expected, what to do.

AtrousError
|- DataError      a file, folder, mask or array that cannot be used     (also a ValueError)
|- ModelError     an unknown model, encoder, option or size             (also a ValueError)
|- WeightsError   weights that are missing, unreachable or do not fit
|- RecipeError    a recipe or run folder that contradicts itself        (also a ValueError)
|- MissingExtra   an optional dependency that is not installed          (also an ImportError)
`- Elsewhere      another process of the same run failed, and says why
"""

from difflib import get_close_matches


class AtrousError(Exception):
    """Base of everything atrous raises on purpose; the command line turns it into one sentence and exit code 2."""


class DataError(AtrousError, ValueError):
    """A file, folder, mask or array that cannot be used."""


class ModelError(AtrousError, ValueError):
    """An unknown model, encoder, option or size."""


class WeightsError(AtrousError):
    """Weights that are missing, unreachable or do not fit the model."""


class RecipeError(AtrousError, ValueError):
    """A recipe or run folder that contradicts itself or the command."""


class MissingExtra(AtrousError, ImportError):
    """An optional dependency that is not installed; the message holds the exact pip command."""


class Elsewhere(AtrousError):
    """Another process of the same run failed, and says why; this one ends without a word. cause: what it met itself."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """The tail of an error about an unknown name: `did you mean 'unet'?`, or the known names when none is near."""
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
