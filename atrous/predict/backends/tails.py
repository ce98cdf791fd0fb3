"""A network's last resize as a rule of sizes, which an exported file carries as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from atrous.errors import ModelError
from atrous.ops.resize import Tail


@dataclass(frozen=True)
class TailRule:
    """The `Tail` between an image and its logits, from their sides.

    Attributes:
        scale, shift: each side n of the logits is resized to scale * n + shift; None: to the image's side.
        crop: where the image begins (top, left) in the resized logits; None if they have the image's size.
    """

    scale: int | None = None
    shift: int = 0
    crop: tuple[int, int] | None = None
    align_corners: bool = False

    def tail(self, image: Sequence[int], logits: Sequence[int]) -> Tail:
        """The tail for an image of sides (H, W) and logits of sides (h, w); volumes have three of each."""
        sides = image if self.scale is None else [self.scale * side + self.shift for side in logits]
        crop = None if self.crop is None else (*self.crop, image[0], image[1])
        return Tail(tuple(sides), crop, self.align_corners)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """The rule as plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "TailRule":
        """The inverse of `to_dict`."""
        crop = data["crop"]
        return cls(data["scale"], data["shift"], crop and (crop[0], crop[1]), data["align_corners"])

    @classmethod
    def of(cls, seen: Sequence[tuple[Sequence[int], Sequence[int], Tail]]) -> "TailRule":
        """The rule that explains the tails seen at several sizes; ModelError if none does.

        seen: (sides of the image, sides of its logits, the tail) for each size.
        """
        (_, first, tail), (_, other, grown) = seen[0], max(seen, key=lambda one: abs(one[1][0] - seen[0][1][0]))
        start = tail.crop and (tail.crop[0], tail.crop[1])
        rules = [cls(None, 0, start, tail.align_corners)]
        if first[0] != other[0]:
            scale = (grown.size[0] - tail.size[0]) // (other[0] - first[0])
            rules.append(cls(scale, tail.size[0] - scale * first[0], start, tail.align_corners))
        for rule in rules:
            if all(rule.tail(image, logits) == expected for image, logits, expected in seen):
                return rule
        raise ModelError("the last resize of this network follows no rule of sizes; export it with --tail inside")
