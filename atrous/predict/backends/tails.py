"""The last step of a network as a rule of sizes, which an exported file carries: JSON instead of code."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from atrous.errors import ModelError
from atrous.ops.resize import Tail


@dataclass(frozen=True)
class TailRule:
    """From the sides of an image and of its logits to the `Tail` between them.

    scale, shift: each side n of the logits is resized to scale n + shift; None: to the image's own side.
    crop: the first pixel (top, left) of the image in the resized logits, None where they are the image.
    """

    scale: int | None = None
    shift: int = 0
    crop: tuple[int, int] | None = None
    align_corners: bool = False

    def tail(self, image: Sequence[int], logits: Sequence[int]) -> Tail:
        """image, logits: their sides (H, W) and (h, w), of volumes three each."""
        sides = image if self.scale is None else [self.scale * side + self.shift for side in logits]
        crop = None if self.crop is None else (*self.crop, image[0], image[1])
        return Tail(tuple(sides), crop, self.align_corners)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "TailRule":
        """The inverse of `to_dict`."""
        crop = data["crop"]
        return cls(data["scale"], data["shift"], crop and (crop[0], crop[1]), data["align_corners"])

    @classmethod
    def of(cls, seen: Sequence[tuple[Sequence[int], Sequence[int], Tail]]) -> "TailRule":
        """The rule behind (sides of the image, of its logits, the tail) at several sizes; ModelError where none is."""
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
