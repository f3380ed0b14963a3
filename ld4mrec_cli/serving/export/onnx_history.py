"""Parts of ONNX graphs that start from histories: padded rows of item numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ials_settings import IALSConfig
from ld4mrec_cli.serving.export.onnx_graph import HISTORY, GraphBuilder, import_onnx
from ld4mrec_cli.serving.export.parts import Weights

SMALLEST = 1e-12
"""Lengths of rows are at least this, as in the model."""


@dataclass(frozen=True)
class Histories:
    """The input ``(n, length)`` int64: items of each row, -1 past its end."""

    graph: GraphBuilder
    items: str
    """Items ``(n, length)``; 0 past the end."""
    mask: str
    """1 for an item and 0 past the end, ``(n, 1, length)`` float32."""
    counts: str
    """Items of each row ``(n, 1)`` float32."""

    @classmethod
    def read(cls, graph: GraphBuilder) -> Histories:
        """Start a graph with its input."""
        zero = graph.number(0, np.int64)
        is_item = graph.add("GreaterOrEqual", HISTORY, zero)
        mask = graph.add("Cast", is_item, to=1)
        counts = graph.add("ReduceSum", mask, graph.integers(1), keepdims=1)
        items = graph.add("Max", HISTORY, zero)
        return cls(graph, items, graph.add("Unsqueeze", mask, graph.integers(1)), counts)

    def sum_rows(self, table: str) -> str:
        """Sums ``(n, d)`` of the rows of a table ``(n_items, d)``."""
        graph = self.graph
        product = graph.add("MatMul", self.mask, graph.add("Gather", table, self.items, axis=0))
        return graph.add("Squeeze", product, graph.integers(1))

    def unit_sum(self, table: str) -> str:
        """:meth:`sum_rows` over the length of the rows, ``(n, d)``."""
        graph = self.graph
        length = graph.add("Max", graph.add("Sqrt", self.counts), graph.number(SMALLEST))
        return graph.add("Div", self.sum_rows(table), length)


def normalize(graph: GraphBuilder, value: str) -> str:
    """Rows of ``(n, d)`` scaled to unit length; a zero row stays zero."""
    length = graph.add("ReduceL2", value, graph.integers(1), keepdims=1)
    return graph.add("Div", value, graph.add("Max", length, graph.number(SMALLEST)))


def item_weight_scores(histories: Histories, weights: Weights) -> str:
    """Sums of item-item weights over the histories ``(n, n_items)``."""
    graph = histories.graph
    if isinstance(weights.matrix, np.ndarray):
        return _sum_dense_rows(histories, weights.matrix)
    scores = _sum_sparse_rows(histories, csr_matrix(weights.matrix))
    if weights.left is None or weights.right is None or not weights.left.shape[1]:
        return scores
    queries = histories.sum_rows(graph.constant("ease_left", weights.left))
    return graph.add("Gemm", queries, graph.constant("ease_right", weights.right), scores, transB=1)


def _sum_dense_rows(histories: Histories, matrix: np.ndarray) -> str:
    """Sums of rows of a dense matrix: a product with the histories as rows of 0 and 1.

    Gathering the rows would take memory for each item of each history.
    """
    graph, n_items = histories.graph, matrix.shape[1]
    ones = graph.add("Squeeze", histories.mask, graph.integers(1))
    n_rows = graph.add("Shape", ones, end=1)
    shape = graph.add("Concat", n_rows, graph.integers(n_items), axis=0)
    zeros = graph.add("Expand", graph.number(0.0), shape)
    scattered = graph.add("ScatterElements", zeros, histories.items, ones, axis=1, reduction="add")
    return graph.add("MatMul", scattered, graph.constant("item_weights", matrix))


def _sum_sparse_rows(histories: Histories, matrix: csr_matrix) -> str:
    """Sums of rows of a CSR matrix: its entries are gathered and scattered into the scores."""
    graph, n_items = histories.graph, matrix.shape[1]
    counts = np.diff(matrix.indptr).astype(np.int64)
    starts = graph.constant("weights_start", matrix.indptr[:-1].astype(np.int64))
    columns = graph.constant("weights_item", np.append(matrix.indices, 0).astype(np.int32))
    values = graph.constant("weights_value", np.append(matrix.data, 0.0).astype(np.float32))
    mask = graph.add("Squeeze", histories.mask, graph.integers(1))
    flat = graph.integers(-1)
    items = graph.add("Reshape", histories.items, flat)
    n_entries = graph.add("Gather", graph.constant("weights_count", counts), items)
    is_item = graph.add("Cast", graph.add("Reshape", mask, flat), to=7)
    n_entries = graph.add("Mul", n_entries, is_item)
    place, owner = _positions(graph, n_entries)
    entry = graph.add("Add", place, graph.add("Gather", graph.add("Gather", starts, items), owner))
    column = graph.add("Cast", graph.add("Gather", columns, entry), to=7)
    length = graph.add("Shape", histories.items, start=1)
    row = graph.add("Div", owner, graph.add("Max", length, graph.number(1, np.int64)))
    last = graph.integers(1)
    at = graph.add(
        "Concat",
        graph.add("Unsqueeze", row, last),
        graph.add("Unsqueeze", column, last),
        axis=1,
    )
    n_rows = graph.add("Shape", histories.items, end=1)
    shape = graph.add("Concat", n_rows, graph.integers(n_items), axis=0)
    zeros = graph.add("Expand", graph.number(0.0), shape)
    return graph.add("ScatterND", zeros, at, graph.add("Gather", values, entry), reduction="add")


def _positions(graph: GraphBuilder, counts: str) -> tuple[str, str]:
    """Place within its group, and group, of each entry of groups of sizes ``counts`` ``(m,)``.

    Both are ``(Σ counts,)`` int64. A group's number is added where it begins, so that their
    running sum is the group of each entry, also beside empty groups.
    """
    axis, zero, one = (graph.number(value, np.int64) for value in (0, 0, 1))
    begins = graph.add("CumSum", counts, axis, exclusive=1)
    total = graph.add("ReduceSum", counts, graph.integers(0), keepdims=0)
    size = graph.add("Unsqueeze", graph.add("Add", total, one), graph.integers(0))
    marks = graph.add("Expand", zero, size)
    ones = graph.add("Expand", one, graph.add("Shape", begins))
    marks = graph.add("ScatterElements", marks, begins, ones, axis=0, reduction="add")
    owner = graph.add("Sub", graph.add("CumSum", marks, axis), one)
    stop = graph.add("Unsqueeze", total, graph.integers(0))
    owner = graph.add("Slice", owner, graph.integers(0), stop)
    at = graph.add("Range", zero, total, one)
    return graph.add("Sub", at, graph.add("Gather", begins, owner)), owner


def ials_vectors(histories: Histories, items: np.ndarray, settings: IALSConfig) -> str:
    """Vectors ``(n, d)`` that iALS solves from the histories, in float64 within.

    ``(α₀ Σ v vᵀ + Σ_S v vᵀ + λ (|S| + α₀ n_items)^ν I) w = Σ_S v``, see
    :class:`ld4mrec_cli.models.ops.als.LeastSquares`; ONNX has no solver, so the rows are
    eliminated one after the other.
    """
    graph, (n_items, dim) = histories.graph, items.shape
    double = items.astype(np.float64)
    choice = settings.settled
    alpha = choice.unobserved_weight
    gathered = graph.add("Gather", graph.constant("ials_items", items), histories.items, axis=0)
    mask = graph.add("Transpose", histories.mask, perm=[0, 2, 1])
    own = graph.add("Cast", graph.add("Mul", gathered, mask), to=11)
    gram = graph.add("MatMul", graph.add("Transpose", own, perm=[0, 2, 1]), own)
    count = graph.add("Cast", histories.counts, to=11)
    frequency = graph.add("Add", count, graph.number(alpha * n_items, np.float64))
    power = graph.add("Pow", frequency, graph.number(choice.frequency_exponent, np.float64))
    ridge = graph.add("Mul", power, graph.number(choice.regularization, np.float64))
    ridge = graph.add("Unsqueeze", ridge, graph.integers(2))
    identity = graph.constant("identity", np.eye(dim))
    shared = graph.constant("ials_shared", alpha * (double.T @ double))
    system = graph.add("Add", graph.add("Add", gram, shared), graph.add("Mul", ridge, identity))
    right = graph.add("ReduceSum", own, graph.integers(1), keepdims=0)
    right = graph.add("Unsqueeze", right, graph.integers(2))
    solved = _eliminate(graph, graph.add("Concat", system, right, axis=2), dim)
    solution = graph.add("Gather", solved, graph.number(dim, np.int64), axis=2)
    return graph.add("Cast", solution, to=1)


def _eliminate(graph: GraphBuilder, system: str, dim: int) -> str:
    """Gauss-Jordan elimination of positive definite systems ``(n, dim, dim + 1)`` in a loop.

    In step k, ``M - (M_k - e_k) ⊗ row_k / pivot`` makes column k that of the identity.
    """
    helper, kind = import_onnx("onnx.helper"), import_onnx().TensorProto
    body = GraphBuilder(prefix="loop")
    row = body.add("Gather", "before", "k", axis=1)
    pivot = body.add("Gather", row, "k", axis=1)
    row = body.add("Div", row, body.add("Unsqueeze", pivot, "axis_1"))
    column = body.add("Sub", body.add("Gather", "before", "k", axis=2), _unit(body))
    change = body.add(
        "Mul", body.add("Unsqueeze", column, "axis_2"), body.add("Unsqueeze", row, "axis_1")
    )
    after = body.add("Sub", "before", change)
    going = body.add("Identity", "going")
    shape = ["n", dim, dim + 1]
    inputs = [
        helper.make_tensor_value_info("k", kind.INT64, []),
        helper.make_tensor_value_info("going", kind.BOOL, []),
        helper.make_tensor_value_info("before", kind.DOUBLE, shape),
    ]
    outputs = [
        helper.make_tensor_value_info(going, kind.BOOL, []),
        helper.make_tensor_value_info(after, kind.DOUBLE, shape),
    ]
    graph.constant("axis_1", np.array([1], dtype=np.int64))
    graph.constant("axis_2", np.array([2], dtype=np.int64))
    steps, yes = graph.number(dim, np.int64), graph.constant("yes", np.array(True))
    loop = helper.make_graph(body.nodes, "elimination", inputs, outputs)
    return graph.add("Loop", steps, yes, system, body=loop)


def _unit(body: GraphBuilder) -> str:
    """Row k of the identity."""
    return body.add("Gather", "identity", "k", axis=0)
