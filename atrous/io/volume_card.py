"""What the card of a network for volumes says about them, with its bounds: the schema of `Card.volume`.

It is the part of nnU-Net's plan that a prediction needs. The words are those of `plan.medical`'s recipe.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, model_validator

Number = Annotated[StrictFloat, Field(ge=-1e30, le=1e30)]
Deviation = Annotated[StrictFloat, Field(ge=1e-30, le=1e30)]


class Channel(BaseModel):
    """How one channel is normalised.

    Attributes:
        channel: its name.
        scheme: ct (clip, then mean and std of the data set's foreground), z-score (of each case), by 255, none, or
            to 0..1 (each case from its least to its greatest value).
        inside_only: a z-score over the voxels that are not empty margin, which stays 0; else over the box around them.
        clip: lower and upper end.
        mean: subtracted.
        std: divided by.
    """

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    channel: StrictStr
    scheme: Literal["ct", "z-score", "by 255", "none", "to 0..1"]
    inside_only: Annotated[bool, Field(strict=True)] = False
    clip: tuple[Number, Number] | None = None
    mean: Number | None = None
    std: Deviation | None = None

    @model_validator(mode="after")
    def _fits(self) -> "Channel":
        if self.scheme == "ct" and None in (self.clip, self.mean, self.std):
            raise ValueError("the scheme ct needs clip, mean and std")
        if self.clip is not None and self.clip[0] > self.clip[1]:
            raise ValueError(f"clip is {list(self.clip)}; expected the lower number first")
        return self


class Volume(BaseModel):
    """How a volume becomes what the network takes, and back.

    Attributes:
        spacing: of the network's axes, in mm; two numbers for a network on slices.
        axes: the array's axes z, y, x in the order of the network's; for slices the first is the one across them.
        normalisation: of each channel; it counts, not the card's mean and std.
        patch: voxels along the network's axes that it was trained on.
        orientation: which way the array's axes go: as in the file, or turned to the standard (`io.geometry.STANDARD`).
        mirror: the network's axes, from 0, whose mirror images may be averaged.
    """

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    spacing: Annotated[list[Annotated[StrictFloat, Field(ge=1e-6, le=1e6)]], Field(min_length=2, max_length=3)]
    axes: list[Literal["z", "y", "x"]]
    normalisation: list[Channel]
    patch: list[Annotated[StrictInt, Field(ge=1, le=100_000)]]
    orientation: Literal["standard", "file"] = "standard"
    mirror: list[Annotated[StrictInt, Field(ge=0, le=2)]] = []

    @model_validator(mode="after")
    def _fits(self) -> "Volume":
        count = len(self.spacing)
        if sorted(self.axes) != ["x", "y", "z"]:
            raise ValueError(f"axes are {self.axes}; expected z, y and x in some order")
        if len(self.patch) != count:
            raise ValueError(f"patch has {len(self.patch)} sides for {count} numbers of spacing; expected as many")
        if len(set(self.mirror)) < len(self.mirror) or any(axis >= count for axis in self.mirror):
            raise ValueError(f"mirror is {self.mirror}; expected different axes from 0 to {count - 1}")
        return self
