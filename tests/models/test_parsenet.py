"""ParseNet: norms of length one times a factor, the mean at every place, early fusion as late."""

import pytest
import torch

from atrous.models.deeplab_early import deeplabv1
from atrous.models.parsenet import L2Norm, parsenet


@torch.no_grad()
def test_features_have_the_length_of_the_scale_and_its_channels() -> None:
    torch.manual_seed(0)
    norm, x = L2Norm(5, 10), torch.randn(2, 5, 3, 4) * 100
    torch.testing.assert_close(norm(x).norm(dim=1), torch.full((2, 3, 4), 10.0))
    torch.testing.assert_close(norm(x), norm(x / 7))
    norm.scale[2] = 0
    assert not norm(x)[:, 2].any()
    assert norm(torch.zeros(1, 5, 2, 2)).isfinite().all()


@pytest.mark.parametrize("encoder", ["vgg16", "test_resnet"])
@torch.no_grad()
def test_early_fusion_is_the_sum_of_two_scores(encoder: str) -> None:
    torch.manual_seed(0)
    model, image = parsenet(3, encoder=encoder, width=2).eval(), torch.randn(1, 3, 41, 65)
    for norm in (model.head.norm, model.head.norm_mean):
        torch.nn.init.uniform_(norm.scale, 5, 20)
    x = model.head.field(model.encoder(image)[-1])
    own = x / x.square().sum(1, keepdim=True).sqrt() * model.head.norm.scale
    mean = x.flatten(2).mean(2)
    mean = mean / mean.square().sum(1, keepdim=True).sqrt() * model.head.norm_mean.scale[:, 0, 0]
    weight, bias = model.head.score.weight[:, :, 0, 0], model.head.score.bias
    local = torch.einsum("kc,nchw->nkhw", weight[:, : x.shape[1]], own)
    scene = mean @ weight[:, x.shape[1] :].T + bias
    scores = local + scene[:, :, None, None]
    expected = torch.nn.functional.interpolate(scores, (41, 65), mode="bilinear", align_corners=True)
    torch.testing.assert_close(model(image), expected)
    assert float(scene.std()) > 0.01


def test_its_trunk_is_largefov() -> None:
    with torch.device("meta"):
        model, largefov = parsenet(), deeplabv1()
    assert sum(p.numel() for p in model.parameters()) == 20_505_429 + 2 * 1024 + 1024 * 21  # norms, scores of the mean
    trunk = {key: value.shape for key, value in largefov.state_dict().items() if not key.startswith("head.score")}
    assert trunk.items() <= {key: value.shape for key, value in model.state_dict().items()}.items()
    assert set(parsenet(2, width=1, scale=15).head.norm.scale.flatten().tolist()) == {15}
