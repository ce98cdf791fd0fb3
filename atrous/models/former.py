"""What version 0.1 called things: keys of state dicts, so that its weights load into the networks of today."""

from collections.abc import Set
from typing import Any


def move_keys(state: dict[str, Any], prefix: str, known: Set[str]) -> None:
    """Bring the tensors of a page of 0.1 to the names they have in `Page`, in place.

    There a page was one class with the parts of its head beside the encoder: its part `head` is `head.score` now, any
    other part `x` is `head.x`. Names that the page knows stay, so that state dicts of today are left alone.

    Args:
        state: tensors by name.
        prefix: what stands before the page's own names in it, "" or such as "model.".
        known: the names that the page has, without the prefix.
    """
    for key in [key for key in state if key.startswith(prefix)]:
        own = key.removeprefix(prefix)
        first, _, rest = own.partition(".")
        moved = f"head.score.{rest}" if first == "head" else f"head.{own}"
        if own not in known and moved in known:
            state[prefix + moved] = state.pop(key)
