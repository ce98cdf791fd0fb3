"""What version 0.1 called things, so that its weights and recipes mean the same today: tensors and options."""

from collections.abc import Mapping, Set
from typing import Any

OPTIONS: dict[str, dict[str, str]] = {
    "bisenetv2": {"head": "channels"},
    "lraspp": {"width": "channels"},
    "pointrend": {"width": "channels"},
    "reseg": {"width": "channels"},
    "unet": {"skips": "joined"},
}
"""Model -> its option in 0.1 -> the option of today. enet's `dropout` was a pair, `early_dropout` and `dropout`."""


def options_today(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a network in a card or a recipe of 0.1, by their names of today; those of today stay."""
    names = OPTIONS.get(model, {})
    today = {names.get(option, option): value for option, value in options.items()}
    if model == "enet" and isinstance(today.get("dropout"), list | tuple):
        today["early_dropout"], today["dropout"] = today["dropout"]
    if model == "pointrend" and today.get("base_options"):
        today["base_options"] = options_today(today.get("base", ""), today["base_options"])
    return today


def move_keys(state: dict[str, Any], prefix: str, known: Set[str]) -> None:
    """Bring the tensors of a page of 0.1 to the names they have in `Page`, in place.

    There a page was one class with the parts of its head beside the encoder: its part `head` is
    `head.score` now, any other part `x` is `head.x`. Names that the page knows stay, so that state
    dicts of today are left alone.

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
