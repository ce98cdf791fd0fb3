"""torchvision's state dicts load strictly; the logits are compared in models/test_parity.py."""

import pytest
import torch
import torchvision

from atrous.errors import ModelError, WeightsError
from atrous.models import create_model
from atrous.zoo.convert.torchvision import OURS, from_torchvision

FORMS = [(name, aux) for name in sorted(OURS) for aux in (False, True) if not (aux and name.startswith("lraspp"))]


@pytest.mark.parametrize("name, aux", FORMS)
def test_state_dicts_load_strictly(name: str, aux: bool) -> None:
    model, options = OURS[name]
    extra = {"aux_loss": True} if aux else {}
    with torch.device("meta"):
        build = getattr(torchvision.models.segmentation, name)
        theirs = build(weights=None, weights_backbone=None, num_classes=5, **extra)
        ours = create_model(model, classes=5, **options, **({"aux": True} if aux else {}))
    renamed = from_torchvision(theirs.state_dict(), name)
    ours.load_state_dict(renamed, strict=True, assign=True)
    assert len(renamed) == len(theirs.state_dict())


def test_all_of_torchvisions_networks_are_there() -> None:
    assert sorted(OURS) == torchvision.models.list_models(torchvision.models.segmentation)


def test_other_names_and_tensors_are_named() -> None:
    with pytest.raises(ModelError, match=r"'deeplabv3_resnet5'; did you mean 'deeplabv3_resnet50'"):
        from_torchvision({}, "deeplabv3_resnet5")
    with pytest.raises(WeightsError, match=r"tensor 'decoder.weight' is not part of torchvision's fcn_resnet50"):
        from_torchvision({"decoder.weight": torch.zeros(1)}, "fcn_resnet50")
