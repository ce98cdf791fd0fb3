"""Hugging Face's SegFormer loads strictly under both of its spellings and gives its logits."""

import pytest
import torch
from parity import compare, label
from torch import nn

from atrous.errors import ModelError, WeightsError
from atrous.models import create_model
from atrous.zoo.convert.hf import OURS, from_hf

PUBLISHED = {
    "segformer.encoder.patch_embeddings.1.proj.weight": "encoder.net.stages.1.embed.weight",
    "segformer.encoder.patch_embeddings.0.layer_norm.bias": "encoder.net.stages.0.embed_norm.bias",
    "segformer.encoder.block.2.1.layer_norm_1.weight": "encoder.net.stages.2.blocks.1.norm1.weight",
    "segformer.encoder.block.2.1.layer_norm_2.bias": "encoder.net.stages.2.blocks.1.norm2.bias",
    "segformer.encoder.block.0.0.attention.self.query.weight": "encoder.net.stages.0.blocks.0.attention.query.weight",
    "segformer.encoder.block.0.0.attention.self.key.bias": "encoder.net.stages.0.blocks.0.attention.key.bias",
    "segformer.encoder.block.0.0.attention.self.value.bias": "encoder.net.stages.0.blocks.0.attention.value.bias",
    "segformer.encoder.block.0.0.attention.self.sr.weight": "encoder.net.stages.0.blocks.0.attention.reduce.weight",
    "segformer.encoder.block.0.0.attention.self.layer_norm.bias":
        "encoder.net.stages.0.blocks.0.attention.reduce_norm.bias",
    "segformer.encoder.block.3.1.attention.output.dense.bias": "encoder.net.stages.3.blocks.1.attention.project.bias",
    "segformer.encoder.block.3.1.mlp.dense1.bias": "encoder.net.stages.3.blocks.1.ffn.expand.bias",
    "segformer.encoder.block.3.1.mlp.dwconv.dwconv.weight": "encoder.net.stages.3.blocks.1.ffn.depthwise.weight",
    "segformer.encoder.block.3.1.mlp.dense2.bias": "encoder.net.stages.3.blocks.1.ffn.project.bias",
    "segformer.encoder.layer_norm.3.weight": "encoder.net.stages.3.norm.weight",
    "decode_head.linear_c.2.proj.weight": "head.project.2.weight",
    "decode_head.linear_fuse.weight": "head.fuse.0.weight",
    "decode_head.batch_norm.running_var": "head.fuse.1.running_var",
    "decode_head.classifier.bias": "head.score.1.bias",
}  # fmt: skip
"""A tensor of each kind as nvidia/segformer-b0-finetuned-ade-512-512 names it."""


def test_published_names_are_known() -> None:
    with torch.device("meta"):
        own = create_model("segformer", classes=150, encoder="mit_b0").state_dict()
    renamed = from_hf({key: own[ours] for key, ours in PUBLISHED.items()}, "segformer-b0")
    assert list(renamed) == list(PUBLISHED.values())
    assert set(renamed) <= set(own)


def test_other_names_and_tensors_are_named() -> None:
    with pytest.raises(ModelError, match="'segformer-b9'; did you mean 'segformer-b"):
        from_hf({}, "segformer-b9")
    with pytest.raises(WeightsError, match=r"tensor 'head.weight' is not part of Hugging Face's segformer-b0"):
        from_hf({"head.weight": torch.zeros(1)}, "segformer-b0")


@pytest.mark.parametrize("name", ["segformer-b0", "segformer-b2"])
@torch.no_grad()
def test_their_weights_give_their_logits(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    wide = {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 4, 6, 3], "decoder_hidden_size": 768}
    config = transformers.SegformerConfig(num_labels=7, **(wide if name == "segformer-b2" else {}))
    theirs = transformers.SegformerForSemanticSegmentation(config).eval()
    for parameter in theirs.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    norm = theirs.decode_head.batch_norm
    nn.init.normal_(norm.running_mean, std=0.1)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)
    model, options = OURS[name]
    ours = create_model(model, classes=7, **options).eval()
    ours.load_state_dict(from_hf(theirs.state_dict(), name))
    for size in ((65, 97), (64, 160)):
        image = torch.randn(2, 3, *size)
        logits, expected = ours.logits_at_stride(image)[0], theirs(image).logits
        assert float(expected.std()) > 0.05
        compare(label(model, options), "transformers SegFormer", logits, expected, networks=(ours, theirs))
