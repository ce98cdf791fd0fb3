"""A classifier as a fully convolutional network: its linear layers, made convolutions, score every window of an image.

Long et al. 2015 (arXiv 1411.4038), section 3.1 and figure 2. A classifier ends in "pool or flatten, then linear". Over
its own map of h x w cells, which it has at its training size, that is a convolution:

    flatten, Linear(C h w -> K)   a h x w convolution (VGG, AlexNet: fc6 is 7 x 7 or 6 x 6)
    global mean, Linear(C -> K)   a h x w mean at stride 1, and a 1 x 1 convolution (ResNet and most others)

So a larger image gives a map of scores, each what the classifier's head says of that window of features, by its own
weights. At the training size the single score is the classifier's logits, which is checked when the network is built.
On a larger image the features near a window's edge see what is beyond it, where a cut-out window has padding: scores
are those of the cut-out windows exactly if the network pads nothing, else they are as the head finds the features.

Axes: N images, C channels, H x W pixels, K classes, s the stride.
"""

import copy
import math
from typing import Any, cast

import torch
from timm.layers import LayerNorm2d
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from atrous.errors import ModelError, let_through
from atrous.layers import pad_reflect, safe_norms
from atrous.models.model import Strided
from atrous.ops.resize import Tail

GROW = 512
"""By how many pixels an image grows to count its new scores; the stride divides it."""

POOLS: dict[Any, tuple[Any, ...]] = {
    nn.AvgPool2d: (nn.AdaptiveAvgPool2d, functional.adaptive_avg_pool2d, torch.mean, "mean"),
    nn.MaxPool2d: (nn.AdaptiveMaxPool2d, functional.adaptive_max_pool2d, torch.amax, "amax"),
}
"""How classifiers write global pooling: as a module, a function or a method; and what it is on every window."""

ADAPTIVE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
VECTOR = (nn.Linear, nn.BatchNorm1d, nn.LayerNorm)
"""Layers that `_over_map` turns into layers of maps."""


class DenseClassifier(Strided):
    """What `from_classifier` builds. Any H, W >= 1; smaller sides than `size` are mirrored up to it.

    size: (height, width) of the window that one score is about, in pixels. stride: pixels from a window to the next.
    """

    def __init__(self, net: fx.GraphModule, classes: int, in_channels: int, size: tuple[int, int], stride: int) -> None:
        super().__init__()
        self.net, self.classes, self.in_channels, self.size, self.stride = net, classes, in_channels, size, stride
        safe_norms(self)

    def scores(self, image: torch.Tensor) -> torch.Tensor:
        """Image (N, C, H, W) -> (N, K, h, w): cell (i, j) is about the window whose first pixel is (s i, s j)."""
        below, right = (max(0, least - side) for least, side in zip(self.size, image.shape[2:], strict=True))
        return self.net(pad_reflect(image, 0, below, 0, right))

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """The scores, repeated outwards to the image's border, and the resize that puts each at its window's centre."""
        scores, stride = self.scores(image), self.stride
        around: list[int] = []
        sizes, firsts = [], []
        for side, least, cells in zip(image.shape[2:], self.size, scores.shape[2:], strict=True):
            offset = (least - stride) // 2  # from the window's first pixel to that of its middle cell
            before = max(0, -(-offset // stride))
            first = before * stride - offset
            after = max(0, -(-(first + side) // stride) - before - cells)
            around = [before, after, *around]
            sizes.append((before + cells + after) * stride)
            firsts.append(first)
        scores = functional.pad(scores, around, mode="replicate")
        crop = (firsts[0], firsts[1], image.shape[2], image.shape[3])
        return scores, Tail((sizes[0], sizes[1]), crop)


def from_classifier(classifier: nn.Module, size: int | tuple[int, int] | None = None) -> DenseClassifier:
    """Turn a classifier of timm or torchvision, or one built like them, into a fully convolutional network.

    classifier: image (N, C, H, W) -> logits (N, K), whose head is global pooling or flattening and then linear layers,
    with activations, dropout or norms between; left as it is. size: the training size in pixels, at which the single
    score is the classifier's logits; default: the one that timm notes, else 224. Names of weights stay, the linear ones
    become (K, C, h, w). What the classifier does only in training (auxiliary heads) is left out.
    Raises ModelError when the head is of another kind (the tokens of a transformer), or does not fit the size.
    """
    if size is None:
        size = tuple(getattr(classifier, "pretrained_cfg", {}).get("input_size", (3, 224, 224))[1:])
    height, width = (size, size) if isinstance(size, int) else size
    name = type(classifier).__name__
    net = copy.deepcopy(classifier).eval()
    first = next((layer for layer in net.modules() if isinstance(layer, nn.Conv2d)), None)
    if first is None:
        raise ModelError(f"{name} has no convolution, so it has no map to score; give a convolutional classifier")
    image = torch.rand(2, first.in_channels, height, width, generator=torch.Generator().manual_seed(0))
    image = image.to(first.weight.device, first.weight.dtype)
    try:
        with torch.no_grad():
            graph, logits = _traced(net, image)
            for node in list(graph.graph.nodes):
                _spread(node, graph)
            graph.graph.eliminate_dead_code()
            graph.recompile()
            scores = graph(image)
            stride = _stride(graph, image)
    except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError, AssertionError) as error:
        let_through(error)
        raise _unlike(name, (height, width), str(error).split("\n")[0]) from error
    close = 1e3 * torch.finfo(logits.dtype).eps * float(logits.abs().max())
    if scores.shape != (*logits.shape, 1, 1) or float((scores[:, :, 0, 0] - logits).abs().max()) > close:
        raise _unlike(name, (height, width), "the scores are not its logits")
    dense = DenseClassifier(graph, logits.shape[1], first.in_channels, (height, width), stride)
    return dense.train(classifier.training)


class _HeadTracer(fx.Tracer):
    """Follows the code only where a map becomes a vector; whatever turns maps into maps stays one step."""

    def __init__(self, steps: set[nn.Module]) -> None:
        super().__init__()
        self.steps = steps

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m in self.steps or isinstance(m, VECTOR) or super().is_leaf_module(m, module_qualified_name)


def _traced(net: nn.Module, image: torch.Tensor) -> tuple[fx.GraphModule, torch.Tensor]:
    """The network as a graph, and its logits. Nodes know their `shape` at the training size, that of their input
    (`before`), and the `map` (C, h, w) that stands for a vector."""
    steps: dict[nn.Module, bool] = {}

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        within = len(inputs) == 1 and all(isinstance(x, torch.Tensor) and x.ndim == 4 for x in (*inputs, output))
        if within and output.shape[2:] == (1, 1) != inputs[0].shape[2:]:  # by global pooling, or by a convolution?
            pools = any(isinstance(layer, ADAPTIVE) for layer in module.modules())
            within = not pools and any(True for _ in module.parameters())
        steps[module] = within and steps.get(module, True)

    hooks = [module.register_forward_hook(note) for module in net.modules()]
    logits = net(image)
    for hook in hooks:
        hook.remove()
    graph = fx.GraphModule(net, _HeadTracer({module for module, within in steps.items() if within}).trace(net))
    ShapeProp(graph).propagate(image)
    for node in graph.graph.nodes:
        node.meta["shape"] = tuple(getattr(node.meta.get("tensor_meta"), "shape", ()))
        node.meta["before"] = node.args[0].meta["shape"] if node.args and isinstance(node.args[0], fx.Node) else ()
        node.meta["map"] = node.meta["shape"][1:]
    return graph, logits


def _spread(node: fx.Node, graph: fx.GraphModule) -> None:
    """Rewrite one node, in the order of the graph, so that a vector per image becomes a map of vectors."""
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or node.op not in ("call_module", "call_function", "call_method"):
        return
    before, after = node.meta["before"], node.meta["shape"]
    module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    pool = next((pool for pool, ways in POOLS.items() if node.target in ways or type(module) in ways), None)
    axes = _axes(node) if pool is not None and len(before) == 4 else ()
    if axes == (1, 2):  # of maps (N, h, w, C)
        with graph.graph.inserting_before(node):
            source = graph.graph.call_method("permute", (source, 0, 3, 1, 2))
        node.args, before, axes = (source, *node.args[1:]), (before[0], before[3], before[1], before[2]), (2, 3)
    if pool is not None and axes == (2, 3) and before == after:  # adaptive, to the size it has
        _bypass(node, source)
    elif pool is not None and axes == (2, 3) and math.prod(after) == before[0] * before[1] < math.prod(before):
        _call(node, graph, pool(before[2:], stride=1), (before[1], 1, 1))
    elif {len(before), len(after)} == {2, 4} and math.prod(before) == math.prod(after):  # flatten, or its reverse
        _bypass(node, source)
    elif node.target is functional.dropout:  # traced while evaluating, so that it would never drop
        share = node.kwargs.get("p", node.args[1] if len(node.args) > 1 else 0.5)
        _call(node, graph, nn.Dropout(cast(float, share)), source.meta["map"])
    elif math.prod(after[1:]) == max(after[1:], default=0):  # a vector per image: (N, F), (N, F, 1, 1), (N, 1, 1, F)
        layer, count = _over_map(module, source.meta["map"]), max(after[1:])
        if layer is not None:
            graph.set_submodule(str(node.target), layer)
        same = layer is None and count == math.prod(source.meta["map"])
        node.meta["map"] = source.meta["map"] if same else (count, 1, 1)


def _axes(node: fx.Node) -> tuple[int, ...]:
    """The axes, of four, that a pooling node reduces, in order."""
    if node.op == "call_module" or "adaptive" in getattr(node.target, "__name__", ""):
        return (2, 3)
    given = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else ())
    return tuple(sorted(axis % 4 for axis in given)) if isinstance(given, tuple | list) else ()


def _over_map(layer: nn.Module | None, shape: tuple[int, ...]) -> nn.Module | None:
    """The layer of a vector, once a map of `shape` (C, h, w), as one over larger maps; None if it serves as it is."""
    new: nn.Module
    if isinstance(layer, nn.Linear):
        with torch.device("meta"):
            new = nn.Conv2d(shape[0], layer.out_features, (shape[1], shape[2]), bias=layer.bias is not None)
        weights = {"weight": layer.weight.view(new.weight.shape), "bias": layer.bias}
    elif isinstance(layer, nn.BatchNorm1d):
        new = nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        weights = layer.state_dict()
    elif isinstance(layer, nn.LayerNorm):
        new = LayerNorm2d(layer.normalized_shape[0], layer.eps, affine=layer.elementwise_affine)
        weights = layer.state_dict()
    else:
        return None
    new.load_state_dict({key: tensor for key, tensor in weights.items() if tensor is not None}, assign=True)
    return new.train(layer.training)


def _bypass(node: fx.Node, source: fx.Node) -> None:
    node.replace_all_uses_with(source)
    node.graph.erase_node(node)


def _call(node: fx.Node, graph: fx.GraphModule, layer: nn.Module, shape: tuple[int, ...]) -> None:
    """Let the node's users take what `layer` makes of its input instead."""
    graph.add_submodule(f"{node.name}_over_map", layer.eval())
    with graph.graph.inserting_after(node):
        call = graph.graph.call_module(f"{node.name}_over_map", (node.args[0],))
    call.meta["map"] = shape
    _bypass(node, call)


def _stride(graph: fx.GraphModule, image: torch.Tensor) -> int:
    """Pixels from one score to the next, counted on an image without content."""
    state = {key: tensor.to("meta") for key, tensor in graph.state_dict().items()}
    shape = (1, image.shape[1], image.shape[2] + GROW, image.shape[3] + GROW)
    larger = torch.empty(shape, device="meta", dtype=image.dtype)
    cells = torch.func.functional_call(graph, state, (larger,)).shape[2:]
    if len(cells) != 2 or cells[0] != cells[1] or cells[0] < 2 or GROW % (cells[0] - 1):
        raise ValueError(f"an image {GROW} pixels larger has {tuple(cells)} scores")
    return GROW // (cells[0] - 1)


def _unlike(name: str, size: tuple[int, int], reason: str) -> ModelError:
    return ModelError(
        f"{name} at {size[0]} x {size[1]} pixels cannot score every window ({reason}); give a convolutional classifier "
        "that ends in global pooling or flattening and linear layers, and its training size"
    )
