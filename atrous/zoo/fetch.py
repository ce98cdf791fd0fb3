"""Weights by name: those of the package as they are; others fetched once, made a bundle, kept in the user's cache.

CACHE/weights/NAME.safetensors    the bundle
CACHE/weights/NAME/FILE           the published file, while it is fetched, or put there by hand
"""

import hashlib
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from platformdirs import user_cache_path
from rich.console import Console

from atrous import __version__
from atrous.errors import WeightsError, nearest
from atrous.progress import Bar
from atrous.zoo.cards import CARDS, Weights
from atrous.zoo.importer import import_weights
from atrous.zoo.shipped import absence, shipped

SECONDS = 20.0
"""How long an address may keep silent."""

MEGABYTE = 1 << 20
GONE = (401, 403, 404, 410)
"""Answers after which the next address is tried; Hugging Face says 401 for what it has not."""


def names() -> list[str]:
    """What `bundle_of` takes: the weights trained here that this installation holds, then CARDS."""
    return [*shipped(), *CARDS]


def bundle_of(name: str, *, console: Console | None = None) -> Path:
    """The bundle of the weights `name`, one of `names()`; those of CARDS are fetched and imported the first time.

    console: where the licence and the progress of the download are shown, stderr by default.
    Raises WeightsError when the name is unknown, when they cannot be had, and where to put the file by hand, or when
    they do not fit the network.
    """
    if name in (own := shipped()):
        return own[name]
    if name not in CARDS:
        raise WeightsError(f"there are no weights called {name!r}; {nearest(name, names())}{absence()}")
    weights, folder = CARDS[name], Path(user_cache_path("atrous")) / "weights"
    bundle, console = folder / f"{name}.safetensors", console or Console(stderr=True)
    if bundle.exists():
        return bundle
    console.print(f"{name}: {weights.licence}", markup=False, highlight=False)
    by_hand = next((url for url in weights.urls if (folder / name / _file(url)).exists()), None)
    url = by_hand or fetch(name, weights, folder / name, console)
    path = folder / name / _file(url)
    try:
        verify(path, weights)
        import_weights(
            path, weights.source, weights.model, weights.encoder, len(weights.labels), bundle,
            labels=weights.labels, data=url, licence=weights.licence, metrics=weights.metrics,
        )  # fmt: skip
    finally:
        if by_hand is None:
            path.unlink()
            with suppress(OSError):  # another process may be fetching into it
                path.parent.rmdir()
    return bundle


def located(source: Path | str) -> Path:
    """A path as it is; where nothing is there and it is a name of `names()`, the bundle of that name."""
    path = Path(source)
    return path if path.exists() or str(source) not in names() else bundle_of(str(source))


def fetch(name: str, weights: Weights, folder: Path, console: Console) -> str:
    """Write the published file into `folder` from the first address that has it, which is returned.

    Raises WeightsError when none can be reached.
    """
    reason: object = "no address"
    for url in weights.urls:
        try:
            download(url, folder / _file(url), f"fetch {name}, MB", console)
            return url
        except OSError as error:
            reason = f"{error.code} {error.reason}" if isinstance(error, HTTPError) else _reason(error)
            if not isinstance(error, HTTPError) or error.code not in GONE:
                break
    raise WeightsError(
        f"weights {name!r} are not in the cache and {url} cannot be fetched ({reason}); "
        f"go online, or put that file at {folder / _file(url)}"
    )


def download(url: str, path: Path, title: str, console: Console) -> None:
    """Write what `url` (https or file) holds to `path`, all of it or nothing, with a bar of this title.

    Raises OSError when it cannot be read or ends early.
    """
    temporary, size = path.with_name(f".{path.name}.part"), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with urlopen(Request(url, headers={"User-Agent": f"atrous/{__version__}"}), timeout=SECONDS) as answer:
            if url.startswith("https:") and not answer.geturl().startswith("https:"):
                raise OSError(f"it leads to {answer.geturl()}, which is not encrypted")
            expected = int(answer.headers.get("Content-Length") or 0)
            with temporary.open("wb") as file, Bar(console, title, -(-expected // MEGABYTE)) as bar:
                while chunk := answer.read(MEGABYTE):
                    file.write(chunk)
                    size += len(chunk)
                    bar.update(-(-size // MEGABYTE))
        if expected and size != expected:
            raise OSError(f"it ended after {size} of {expected} bytes")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        with suppress(OSError):  # nothing was fetched, and nothing else is there
            path.parent.rmdir()


def verify(path: Path, weights: Weights) -> None:
    """Raise WeightsError unless the file has the size and the checksum that are known of it."""
    size = path.stat().st_size / MEGABYTE
    if weights.megabytes and abs(size - weights.megabytes) > 0.001:
        raise WeightsError(f"{path}: has {size:.3f} MB, the published file {weights.megabytes}; get it anew")
    with path.open("rb") as file:
        digits = hashlib.file_digest(file, "sha256").hexdigest()
    if not digits.startswith(weights.sha256):
        begin = digits[: len(weights.sha256)]
        raise WeightsError(f"{path}: sha256 begins with {begin}, the published file's {weights.sha256}; get it anew")


def _file(url: str) -> str:
    return url.rsplit("/", 1)[1]


def _reason(error: OSError) -> object:
    return getattr(error, "reason", None) or error.strerror or error
