"""Other toolkits' networks, where they are not ours in number: what `atrous import` builds, so that the papers' pages
carry no exception of theirs. `create_model` knows them by these names; `list_models` does not list them."""

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
