"""Mix Transformer: the paper's sizes, attention in loops, Hugging Face's features by a rename."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from atrous.encoders import encoder
from atrous.encoders.mit import MIT, Attention, from_hf, mix_transformer
from atrous.errors import ModelError, WeightsError

COUNTS = {"mit_b0": 3_319_392, "mit_b1": 13_151_424, "mit_b2": 24_196_288,
          "mit_b3": 44_072_128, "mit_b4": 60_842_688, "mit_b5": 81_443_008}  # fmt: skip


@pytest.mark.parametrize("name", sorted(MIT))
def test_parameters_are_as_many_as_published(name: str) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in mix_transformer(name).parameters()) == COUNTS[name]


@torch.no_grad()
def test_any_size_gives_features_as_promised() -> None:
    net = encoder("mit_b0", in_channels=5).eval()
    assert net.strides == (4, 8, 16, 32)
    for height, width in ((1, 1), (28, 29), (33, 65), (64, 96)):
        features = net(torch.randn(1, 5, height, width))
        assert [tuple(f.shape[1:]) for f in features] == [
            (c, -(-height // s), -(-width // s)) for c, s in zip(net.channels, net.strides, strict=True)
        ]


@torch.no_grad()
def test_attention_is_that_of_the_paper() -> None:
    """Each token looks at the R x R blocks of its image: softmax(q k / sqrt(d)) v, head by head."""
    torch.manual_seed(0)
    layer, (height, width) = Attention(6, heads=2, reduction=2).double(), (4, 6)
    x = torch.randn(1, height * width, 6, dtype=torch.float64)
    blocks = []
    for top in range(0, height, 2):
        for left in range(0, width, 2):
            block = x[0].view(height, width, 6)[top : top + 2, left : left + 2]  # (2, 2, C)
            blocks.append(torch.einsum("ijc,ocij->o", block, layer.reduce.weight) + layer.reduce.bias)
    fewer = layer.reduce_norm(torch.stack(blocks))  # (T / 4, C)
    expected = torch.zeros_like(x[0])
    for head in (slice(0, 3), slice(3, 6)):
        query, key, value = layer.query(x[0])[:, head], layer.key(fewer)[:, head], layer.value(fewer)[:, head]
        expected[:, head] = (query @ key.T / 3**0.5).softmax(1) @ value
    torch.testing.assert_close(layer(x, height, width)[0], layer.project(expected))


def test_later_blocks_are_dropped_more_often() -> None:
    with torch.device("meta"):
        rates = [block.drop_path.drop_prob for stage in mix_transformer("mit_b1").stages for block in stage.blocks]
    assert rates == pytest.approx([0.1 * index / 7 for index in range(8)])


def published(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Our tensors by the names of nvidia/mit-b0's files, with a classifier to leave out."""
    names = {"query": "self.query", "key": "self.key", "value": "self.value", "reduce": "self.sr",
             "reduce_norm": "self.layer_norm", "project": "output.dense"}  # fmt: skip
    feed = {"expand": "mlp.dense1", "depthwise": "mlp.dwconv.dwconv", "project": "mlp.dense2"}
    renamed = {"classifier.weight": torch.zeros(2, 256), "classifier.bias": torch.zeros(2)}
    for key, tensor in state.items():
        _, stage, *rest = key.split(".")
        if rest[0] == "blocks":
            _, block, part, *more, kind = rest
            part = {"norm1": "layer_norm_1", "norm2": "layer_norm_2"}.get(part, part)
            part = f"attention.{names[more[0]]}" if part == "attention" else feed[more[0]] if part == "ffn" else part
            renamed[f"segformer.encoder.block.{stage}.{block}.{part}.{kind}"] = tensor
        elif rest[0] == "norm":
            renamed[f"segformer.encoder.layer_norm.{stage}.{rest[1]}"] = tensor
        else:
            part = {"embed": "proj", "embed_norm": "layer_norm"}[rest[0]]
            renamed[f"segformer.encoder.patch_embeddings.{stage}.{part}.{rest[1]}"] = tensor
    return renamed


def test_published_files_are_loaded(tmp_path: Path) -> None:
    state = mix_transformer("mit_b0").state_dict()
    save_file(published(state), tmp_path / "mit.safetensors")
    own = encoder("mit_b0", pretrained=tmp_path / "mit.safetensors").net.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(tensor, own[key]) for key, tensor in state.items())
    grey = encoder("mit_b0", in_channels=1, pretrained=tmp_path / "mit.safetensors").net.stages[0].embed.weight
    torch.testing.assert_close(grey, state["stages.0.embed.weight"].sum(1, keepdim=True))


def test_other_files_are_refused(tmp_path: Path) -> None:
    state = published(mix_transformer("mit_b0").state_dict())
    del state["segformer.encoder.layer_norm.3.bias"]
    save_file(state, tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match=r"'stages.3.norm.bias' needs shape \(256,\) and got nothing; .* Hugging"):
        encoder("mit_b0", pretrained=tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match="encoder 'mit_b0' cannot be downloaded"):
        encoder("mit_b0", pretrained=True)
    with pytest.raises(ModelError, match=r"'mit_b0' has features at strides \(4, 8, 16, 32\) .* stride 16"):
        encoder("mit_b0", stride=16)
    with pytest.raises(ModelError, match="unknown encoder 'mit_b9'; did you mean 'mit_b"):
        encoder("mit_b9")


@torch.no_grad()
def test_features_are_hugging_faces() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(hidden_sizes=MIT["mit_b0"][0], depths=[1, 2, 1, 1])
    theirs = transformers.SegformerModel(config).eval()
    for parameter in theirs.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    ours = mix_transformer("mit_b0")
    for stage, depth in zip(ours.stages, config.depths, strict=True):
        del stage.blocks[depth:]
    ours.eval().load_state_dict(from_hf(theirs.state_dict()))
    for size in ((65, 97), (64, 160)):
        image = torch.randn(2, 3, *size)
        features = theirs(image, output_hidden_states=True).hidden_states
        for own, other in zip(ours(image), features, strict=True):
            torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)
