"""Other toolkits' networks, where they differ from ours: what `atrous import` builds.

So the pages of the papers stay free of the toolkits' exceptions. `create_model` knows them by these
names; `list_models` does not list them.
"""

from collections.abc import Callable

from torch import nn

from atrous.models.foreign import mmseg, smp

FOREIGN: dict[str, Callable[..., nn.Module]] = {
    "mmseg_deeplabv3": mmseg.mmseg_deeplabv3,
    "mmseg_deeplabv3plus": mmseg.mmseg_deeplabv3plus,
    "mmseg_fcn": mmseg.mmseg_fcn,
    "mmseg_pspnet": mmseg.mmseg_pspnet,
    "mmseg_segformer": mmseg.mmseg_segformer,
    "mmseg_upernet": mmseg.mmseg_upernet,
    "smp_deeplabv3": smp.smp_deeplabv3,
    "smp_deeplabv3plus": smp.smp_deeplabv3plus,
    "smp_fpn": smp.smp_fpn,
    "smp_pspnet": smp.smp_pspnet,
    "smp_segformer": smp.smp_segformer,
    "smp_unet": smp.smp_unet,
    "smp_upernet": smp.smp_upernet,
}
