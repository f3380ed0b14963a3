"""One-step inference of a model as an ONNX graph: histories in, scores out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ld4mrec_cli.config import Config
from ld4mrec_cli.models.base import Recommender
from ld4mrec_cli.models.ials import IALS
from ld4mrec_cli.models.ials_settings import IALSConfig
from ld4mrec_cli.models.ld4mrec.cnet import INPUT_TIME, CNet, ResidualBlock
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.models.ld4mrec.signals import ials_config
from ld4mrec_cli.models.multvae import MultVAE
from ld4mrec_cli.models.ops.item_item import ItemItemRecommender
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.serving.export.onnx_graph import SCORES, VECTOR, GraphBuilder
from ld4mrec_cli.serving.export.onnx_history import (
    Histories,
    ials_vectors,
    item_weight_scores,
    normalize,
)
from ld4mrec_cli.serving.export.parts import check_one_step, ease_weights, plain_weights
from ld4mrec_cli.utils.errors import UserError


@torch.inference_mode()
def build_graph(model: Recommender, name: str, config: Config) -> GraphBuilder:
    """The graph of a model.

    Args:
        model: the model, on any device.
        name: its name.
        config: the configuration of its run.

    Raises:
        UserError: its scores are not those of one step from a history.
    """
    graph = GraphBuilder()
    if isinstance(model, LD4MRec):
        check_one_step(model)
        _add_ld4mrec(graph, model, ials_config(config.model))
    elif isinstance(model, ItemItemRecommender):
        histories = Histories.read(graph)
        _output_scores(graph, item_weight_scores(histories, plain_weights(model.weights)))
    elif isinstance(model, IALS):
        vectors = ials_vectors(Histories.read(graph), _array(model.items), config.model_settings)
        _output_products(graph, vectors, graph.constant("ials_items", _array(model.items)), None)
    elif isinstance(model, MultVAE):
        _add_multvae(graph, model)
    else:
        raise UserError(_why_not(name), hint="Use --format parquet")
    graph.check_size()
    return graph


def _why_not(name: str) -> str:
    """Why a model has no graph."""
    if not MODELS[name].scores_new_users:
        return f"{name} scores its training users only, so it has no inference to export as ONNX"
    return f"{name} is not exported as ONNX"


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def _output_scores(graph: GraphBuilder, scores: str) -> None:
    graph.output(SCORES, scores, ["n", "n_items"])


def _output_products(
    graph: GraphBuilder, queries: str, items: str, bias: np.ndarray | None
) -> None:
    """Scores that are inner products, and the vectors of the histories, as in the tables."""
    parts = [queries, items]
    if bias is not None and bias.any():
        parts.append(graph.constant("item_bias", bias))
        queries = _append_one(graph, queries)
    _output_scores(graph, graph.add("Gemm", *parts, transB=1))
    graph.output(VECTOR, queries, ["n", "dim"])


def _append_one(graph: GraphBuilder, vectors: str) -> str:
    shape = graph.add("Concat", graph.add("Shape", vectors, end=1), graph.integers(1), axis=0)
    return graph.add("Concat", vectors, graph.add("Expand", graph.number(1.0), shape), axis=1)


def _linear(graph: GraphBuilder, value: str, name: str, layer: nn.Linear) -> str:
    parts = [graph.constant(f"{name}.weight", _array(layer.weight))]
    if layer.bias is not None:
        parts.append(graph.constant(f"{name}.bias", _array(layer.bias)))
    return graph.add("Gemm", value, *parts, transB=1)


def _add_multvae(graph: GraphBuilder, model: MultVAE) -> None:
    histories = Histories.read(graph)
    hidden = histories.unit_sum(graph.constant("encoder", _array(model.encoder)))
    bias = graph.constant("encoder_bias", _array(model.encoder_bias))
    hidden = graph.add("Tanh", graph.add("Add", hidden, bias))
    latent = _linear(graph, hidden, "to_latent", model.to_latent)
    mean, _ = graph.add_all("Split", [latent], 2, axis=1, num_outputs=2)
    hidden = graph.add("Tanh", _linear(graph, mean, "from_latent", model.from_latent))
    decoder = graph.constant("decoder", _array(model.decoder.weight))
    _output_products(graph, hidden, decoder, _array(model.decoder.bias))


def _add_ld4mrec(graph: GraphBuilder, model: LD4MRec, ials: IALSConfig) -> None:
    """C-Net, and EASE and iALS as they are mixed with it."""
    histories, mixture = Histories.read(graph), model.mixture
    queries, items = _cnet_factors(histories, model.cnet)
    bias = _array(model.cnet.decoder_bias)
    weights = ease_weights(model)
    if mixture.is_empty and weights is None:
        _output_cnet(graph, queries, items, bias)
        return
    scores = _cnet_scores(graph, queries, items, bias)
    if not mixture.is_empty:
        scores = graph.add("Softmax", scores, axis=1)
    if weights is not None:
        ease = item_weight_scores(histories, weights)
        scores = graph.add("Add", scores, ease if mixture.is_empty else graph.add("Relu", ease))
    if mixture.ials is not None:
        catalog = _array(mixture.ials.items)
        vectors = ials_vectors(histories, catalog, ials)
        vectors = graph.add("Mul", vectors, graph.number(mixture.ials.scale))
        product = graph.add("Gemm", vectors, graph.constant("ials_items", catalog), transB=1)
        scores = graph.add("Add", scores, graph.add("Relu", product))
    factor = None if mixture.is_empty else mixture.trend_factor(torch.device("cpu"))
    if factor is not None:
        scores = graph.add("Mul", scores, graph.constant("item_factor", _array(factor)))
    _output_scores(graph, scores)


def _cnet_scores(
    graph: GraphBuilder, queries: list[str], items: list[str], bias: np.ndarray
) -> str:
    """Sum of the products of queries and items, and the bias ``(n, n_items)``."""
    scores = graph.constant("item_bias", bias)
    for query, catalog in zip(queries, items, strict=True):
        scores = graph.add("Gemm", query, catalog, scores, transB=1)
    return scores


def _output_cnet(
    graph: GraphBuilder, queries: list[str], items: list[str], bias: np.ndarray
) -> None:
    """Outputs of C-Net alone, whose scores are inner products."""
    _output_scores(graph, _cnet_scores(graph, queries, items, bias))
    vector = graph.add("Concat", *queries, axis=1) if len(queries) > 1 else queries[0]
    graph.output(VECTOR, _append_one(graph, vector) if bias.any() else vector, ["n", "dim"])


def _cnet_factors(histories: Histories, cnet: CNet) -> tuple[list[str], list[str]]:
    """Vectors of the histories, and of the items; see :meth:`CNet.forward`."""
    graph, signals = histories.graph, cnet.signals
    encoder = graph.constant("encoder", _array(cnet.encoder))
    encoder_bias = graph.constant("encoder_bias", _array(cnet.encoder_bias))
    h = graph.add("Add", histories.unit_sum(encoder), encoder_bias)
    guides = _guides(histories, cnet)
    if cnet.time is not None:
        time = _array(cnet.time(torch.full((1,), INPUT_TIME, device=cnet.encoder.device)))[0]
        for n, block in enumerate(cnet.bd_blocks):
            h = _add_block(graph, h, f"bd_blocks.{n}", block, time)
    condition = [guides[name] for name in cnet.shape.guidance]
    joined = graph.add("Concat", *condition, axis=1) if condition else None
    for n, block in enumerate(cnet.bg_blocks):
        h = _add_block(graph, h, f"bg_blocks.{n}", block, joined)
    decoder = graph.constant("decoder", _array(cnet.decoder))
    if not cnet.side:
        return [h], [decoder]
    maps = torch.cat(list(cnet.item_side_maps.parameters()))
    scaled = [
        graph.add("Mul", guides[name], graph.number(float(cnet.side_scale(name).detach())))
        for name in cnet.side
    ]
    projected = graph.add("Gemm", h, graph.constant("item_side_maps", _array(maps)), transB=1)
    queries = graph.add("Add", projected, graph.add("Concat", *scaled, axis=1))
    return [h, queries], [decoder, graph.constant("item_bases", _array(signals.joined))]


def _guides(histories: Histories, cnet: CNet) -> dict[str, str]:
    """Guidance of each signal ``(n, r_k)``, see :class:`GuidanceSignals`."""
    graph, signals = histories.graph, cnet.signals
    if not (cnet.side or cnet.shape.guidance):
        return {}
    scaled = _array(signals.joined * signals.inverse_sqrt_degree.unsqueeze(1))
    total = histories.sum_rows(graph.constant("scaled_bases", scaled))
    widths = list(signals.widths.values())
    parts = graph.add_all("Split", [total, graph.integers(*widths)], len(widths), axis=1)
    return {name: normalize(graph, part) for name, part in zip(signals.names, parts, strict=True)}


def _add_block(
    graph: GraphBuilder, h: str, name: str, block: Any, condition: np.ndarray | str | None
) -> str:
    """A residual block; a condition that is the same for all rows goes into the bias."""
    assert isinstance(block, ResidualBlock)
    norm = [_array(block.norm.weight), _array(block.norm.bias)]
    names = (f"{name}.norm.weight", f"{name}.norm.bias")
    parts = [graph.constant(*one) for one in zip(names, norm, strict=True)]
    inner = graph.add("LayerNormalization", h, *parts, axis=1, epsilon=block.norm.eps)
    weight, bias = _array(block.widen.weight), _array(block.widen.bias)
    if isinstance(condition, np.ndarray):
        dim = len(norm[0])
        bias = bias + weight[:, dim:] @ condition
        weight = weight[:, :dim]
    elif condition is not None:
        inner = graph.add("Concat", inner, condition, axis=1)
    widened = [graph.constant(f"{name}.widen.weight", weight)]
    widened.append(graph.constant(f"{name}.widen.bias", bias))
    inner = graph.add("Gemm", inner, *widened, transB=1)
    inner = graph.add("Mul", inner, graph.add("Sigmoid", inner))
    return graph.add("Add", h, _linear(graph, inner, f"{name}.narrow", block.narrow))
