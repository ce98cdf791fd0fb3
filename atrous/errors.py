"""What can go wrong, as a tree. A message is one sentence: which file, what was given, what is expected, what to do.

AtrousError
|- DataError      a file, folder, mask or array that cannot be used     (also a ValueError)
|- ModelError     an unknown model, encoder, option or size             (also a ValueError)
|- WeightsError   weights that are missing, unreachable or do not fit
|- RecipeError    a recipe or run folder that contradicts itself        (also a ValueError)
|- MissingExtra   an optional dependency that is not installed          (also an ImportError)
|- OutOfMemory    the memory of the machine or of its GPU is used up
`- Elsewhere      another process of the same run failed, and says why
"""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class AtrousError(Exception):
    """Base of everything atrous raises on purpose; the command line turns it into one sentence and exit code 2."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(readable(arg) if isinstance(arg, str) else arg for arg in args))


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


class OutOfMemory(AtrousError):
    """The memory of the machine or of its GPU is used up; the message says which options need less."""


class Elsewhere(AtrousError):
    """Another process of the same run failed, and says why; this one ends without a word. cause: what it met itself."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def readable(sentence: str) -> str:
    """A sentence without the middle of what is far too long, such as a name of 10,000 signs that a file gives.

    Example:
        >>> len(readable("x" * 10_000))
        2005
    """
    return sentence if len(sentence) <= LONGEST else f"{sentence[:1500]} ... {sentence[-500:]}"


LONGEST = 4000
"""Signs of a sentence. The longest of our own lists all layouts."""


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """The tail of an error about an unknown name: `did you mean 'unet'?`, or the known names when none is near."""
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"


FULL = (
    "out of memory", "not enough memory", "insufficient memory", "can't allocate memory", "cannot allocate memory",
    "failed to allocate memory", "unable to allocate", "bad_alloc", "alloc_failed", "failed to map segment",
    "can't start new thread",
)  # fmt: skip
"""Words, in small letters, of those who ask for memory that there is not: torch, CUDA, numpy, OpenCV, ONNX Runtime, the
loader of libraries, Python."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up. The libraries' errors for it share no base.

    Example:
        >>> is_out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"))
        True
    """
    text = f"{type(error).__name__} {error}".lower().replace("outofmemory", "out of memory")
    return isinstance(error, MemoryError) or (
        not isinstance(error, AtrousError) and any(words in text for words in FULL)
    )


def let_through(error: Exception) -> None:
    """Raise an error again that says nothing about the input: memory is used up, or a name is wrong in this code.

    Where a library may raise anything on a damaged file, the handler of any Exception begins with this.
    """
    if isinstance(error, NameError) or is_out_of_memory(error):
        raise error


@contextmanager
def memory_in_words() -> Iterator[None]:
    """Turn what the libraries raise when memory is used up into OutOfMemory."""
    try:
        yield
    except Exception as error:  # torch, numpy, OpenCV and the runtimes: their errors for it share no base
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(no_memory(error)) from error


def no_memory(error: BaseException) -> str:
    """The sentence about memory that is used up."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
    return (
        f"the memory is used up ({reason}); in training take a smaller --batch or --crop, or cut the batch into parts "
        "with --set accumulate=2; in prediction take a smaller --window"
    )
