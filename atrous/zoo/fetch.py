"""Weights by name: in the package, or fetched once and kept as bundles in the user's cache.

CACHE/weights/NAME.safetensors    the bundle
CACHE/weights/NAME/FILE           the published file, where a user put it by hand

`huggingface_hub` fetches the files at Hugging Face into its own cache, which other programs share.
Its variables hold: HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, ... Files from other addresses
are removed once they are a bundle.
"""

import hashlib
import re
from pathlib import Path
from urllib.request import Request, urlopen

from rich.console import Console

from atrous import __version__
from atrous.errors import WeightsError, let_through, nearest
from atrous.files import in_cache, make_folder, scratch
from atrous.progress import Bar, say
from atrous.zoo.cards import CARDS, Weights
from atrous.zoo.importer import import_weights
from atrous.zoo.shipped import absence, shipped

SECONDS = 20.0
"""How long an address outside Hugging Face may keep silent."""

MEGABYTE = 1 << 20
GONE = (401, 403, 404, 410)
"""HTTP statuses after which the next address is tried; Hugging Face may answer 401 for 404."""

HUB = re.compile(r"https://huggingface\.co/(?P<repo_id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<filename>.+)")
"""An address at Hugging Face, whose parts are named as `hf_hub_download` names them."""


def published_names() -> list[str]:
    """The names that `bundle_of` takes: weights trained here, if installed, then those of CARDS."""
    return [*shipped(), *CARDS]


def bundle_of(name: str, *, console: Console | None = None) -> Path:
    """The bundle of this name; weights of CARDS are fetched and imported the first time.

    Args:
        name: One of `published_names()`.
        console: Where the licence and the progress are shown; default stderr. `huggingface_hub`
            always shows its own bar on stderr.

    Returns:
        The path of the bundle, in the package or in the user's cache.

    Raises:
        WeightsError: The name is unknown; or the file cannot be fetched (the message says where to
            put it by hand), is not the published one, or does not fit the network.

    Example:
        >>> bundle_of("camvid-unet-lite0").name
        'camvid-unet-lite0.safetensors'
    """
    if name in (own := shipped()):
        return own[name]
    if name not in CARDS:
        raise WeightsError(f"there are no weights called {name!r}; {nearest(name, published_names())}{absence()}")
    weights, bundle = CARDS[name], in_cache("weights", f"{name}.safetensors")
    folder, console = bundle.parent, console or Console(stderr=True)
    if bundle.exists():
        return bundle
    say(f"{name}: {weights.licence}", console)
    make_folder(folder)
    with scratch(folder / name) as inside:
        place = in_cache("weights", name)
        url, path = _at_hand(weights, place) or _fetch(name, weights, place, inside, console)
        verify_file(path, weights)
        import_weights(
            path, weights.source, weights.model, weights.encoder, len(weights.labels), bundle,
            labels=weights.labels, data=url, licence=weights.licence, metrics=weights.metrics,
        )  # fmt: skip
    return bundle


def located(source: Path | str) -> Path:
    """`source` as a path; if no such path exists and `source` is a published name, its bundle."""
    path = Path(source)
    return path if path.exists() or str(source) not in published_names() else bundle_of(str(source))


def verify_file(path: Path, weights: Weights) -> None:
    """Raise WeightsError unless the file has the size and the checksum that are known of it."""
    size = path.stat().st_size / MEGABYTE
    if weights.megabytes and abs(size - weights.megabytes) > 0.001:
        raise WeightsError(f"{path}: has {size:.3f} MB, the published file {weights.megabytes}; get it again")
    digits = _sha256(path)
    if not digits.startswith(weights.sha256):
        begin = digits[: len(weights.sha256)]
        raise WeightsError(f"{path}: sha256 begins with {begin}, the published file's {weights.sha256}; get it again")


def _at_hand(weights: Weights, place: Path) -> tuple[str, Path] | None:
    """Address and path of a file that a user put into `place` or Hugging Face's cache holds."""
    import huggingface_hub as hub  # where it is used: the names alone do not need it

    for url in weights.urls:
        if (path := place / _file(url)).exists():
            return url, path
    for url in weights.urls:
        cached = hub.try_to_load_from_cache(**match.groupdict()) if (match := HUB.fullmatch(url)) else None
        if isinstance(cached, str):
            return url, Path(cached)
    return None


def _fetch(name: str, weights: Weights, place: Path, scratch: Path, console: Console) -> tuple[str, Path]:
    """Fetch the file from the first address that has it; returns that address and the file's path.

    Raises WeightsError with the address, the reason and where to put the file by hand: in `place`.
    """
    import huggingface_hub as hub

    for url in weights.urls:
        asked, path = url, scratch / _file(url)
        try:
            if match := HUB.fullmatch(url):
                asked = hub.hf_hub_url(**match.groupdict())  # HF_ENDPOINT may name a mirror
                return url, _from_hub(asked, **match.groupdict())
            _download(url, path, f"fetch {name}, MB", console)
            return url, path
        except Exception as error:  # urllib, httpx and huggingface_hub raise errors of their own
            let_through(error)
            failure = error
            if _status(error) not in GONE:
                break
    raise WeightsError(
        f"weights {name!r} are not in the cache and {asked} cannot be fetched ({_reason(failure)}); "
        f"go online, or put that file at {place / _file(url)}"
    ) from failure


def _from_hub(url: str, repo_id: str, filename: str, revision: str) -> Path:
    """Fetch a file of a repository at Hugging Face into the cache of `huggingface_hub`.

    Raises errors of many kinds; OSError if the file does not have the checksum that was announced.
    """
    import huggingface_hub as hub

    if hub.constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    # hf_hub_download retries for minutes if there is no network, so one short request goes first
    told = hub.get_hf_file_metadata(url, timeout=hub.constants.HF_HUB_ETAG_TIMEOUT)
    path = Path(hub.hf_hub_download(repo_id, filename, revision=revision))
    # the ETag of a large file is its sha256
    if re.fullmatch("[0-9a-f]{64}", told.etag or "") and _sha256(path) != told.etag:
        path.resolve().unlink()  # else the cache would give the same file again
        raise OSError("the file that came has another sha256 than Hugging Face announced")
    return path


def _download(url: str, path: Path, title: str, console: Console) -> None:
    """Write the content of `url` (https or file) to `path`, and show a bar with this title.

    Raises OSError if it cannot be read, ends early, or is redirected to an unencrypted address.
    """
    with urlopen(Request(url, headers={"User-Agent": f"atrous/{__version__}"}), timeout=SECONDS) as answer:
        if url.startswith("https:") and not answer.geturl().startswith("https:"):
            raise OSError(f"it leads to {answer.geturl()}, which is not encrypted")
        expected, size = int(answer.headers.get("Content-Length") or 0), 0
        with path.open("wb") as file, Bar(console, title, -(-expected // MEGABYTE)) as bar:
            while chunk := answer.read(MEGABYTE):
                file.write(chunk)
                size += len(chunk)
                bar.update(-(-size // MEGABYTE))
    if expected and size != expected:
        raise OSError(f"it ended after {size} of {expected} bytes")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file(url: str) -> str:
    return url.rsplit("/", 1)[1]


def _status(error: Exception) -> int | None:
    """The HTTP status in an error of urllib or `huggingface_hub`; None if there is none."""
    return getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", None)


def _reason(error: Exception) -> str:
    """What went wrong in a few words: the HTTP status, else the first sentence of the error."""
    if status := _status(error):
        return f"HTTP status {status}"
    words = str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error).splitlines()
    return words[0].split(". ")[0].rstrip(".:") if words else type(error).__name__
