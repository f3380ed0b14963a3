"""A small builder of ONNX graphs, and the shared parts of ours: histories, sums of rows, blocks."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ld4mrec_cli.utils.errors import UserError
from ld4mrec_cli.utils.memory import physical_memory

OPSET, IR_VERSION = 18, 9
"""Older than what is current, so that older runtimes read the models."""
EXTERNAL_DATA_BYTES = 2**30
"""Constants that together take more lie in a file of their own: a protobuf holds at most 2 GiB."""
MEMORY_SHARE = 4
"""Times its size that a model takes in memory while it is built and checked."""
DATA_SUFFIX = ".data"
HISTORY, SCORES, VECTOR = "items", "scores", "vector"
"""Names of the input and of the outputs."""


def import_onnx(name: str = "onnx") -> ModuleType:
    """Import ``onnx`` or ``onnxruntime``. Raises UserError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        hint = "Install the extra: pip install 'ld4mrec[export]'"
        raise UserError(f"ONNX needs the package {name.partition('.')[0]}", hint=hint) from None


@dataclass
class GraphBuilder:
    """Nodes and constants of a graph; every method returns the name of a value."""

    prefix: str = "v"
    """Start of the names of values; of a loop's body, another one."""
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    outputs: dict[str, list[str | int]] = field(default_factory=dict)
    """Shape of each output, with names for the sizes that are free."""

    def constant(self, name: str, value: np.ndarray) -> str:
        """A named constant; the same name is the same constant."""
        self.constants.setdefault(name, value)
        return name

    def number(self, value: float, dtype: type[np.generic] = np.float32) -> str:
        """A constant scalar."""
        return self.constant(f"{np.dtype(dtype).name}_{value!r}", np.array(value, dtype=dtype))

    def integers(self, *values: int) -> str:
        """A constant vector of whole numbers, for shapes and axes."""
        name = "_".join(("shape", *map(str, values)))
        return self.constant(name, np.array(values, dtype=np.int64))

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The first output of a new node."""
        return self.add_all(operator, inputs, 1, **attributes)[0]

    def add_all(
        self, operator: str, inputs: Sequence[str], n_outputs: int, **attributes: Any
    ) -> list[str]:
        """All outputs of a new node."""
        outputs = [f"{self.prefix}{len(self.nodes)}_{n}" for n in range(n_outputs)]
        node = import_onnx("onnx.helper").make_node(operator, list(inputs), outputs, **attributes)
        self.nodes.append(node)
        return outputs

    def output(self, name: str, value: str, shape: Sequence[str | int]) -> None:
        """Make a float value an output of the graph."""
        node = import_onnx("onnx.helper").make_node("Identity", [value], [name])
        self.nodes.append(node)
        self.outputs[name] = list(shape)

    @property
    def n_bytes(self) -> int:
        """Bytes of the constants."""
        return sum(value.nbytes for value in self.constants.values())

    def check_size(self) -> None:
        """Raise UserError where the memory of this machine is too small for the model."""
        memory, needed = physical_memory(), MEMORY_SHARE * self.n_bytes
        if memory is not None and needed > memory:
            what = f"the ONNX model has {self.n_bytes / 2**30:.1f} GiB of constants"
            why = f"needs {needed / 2**30:.1f} GiB of memory, and this machine has"
            hint = "Use --format parquet, or a machine with more memory"
            raise UserError(f"{what}, {why} {memory / 2**30:.1f}", hint=hint)

    def save(self, path: Path, metadata: Mapping[str, str]) -> list[str]:
        """Write the model; large constants into a file beside it.

        Returns:
            The names of the files.
        """
        onnx, helper = import_onnx(), import_onnx("onnx.helper")
        numpy_helper = import_onnx("onnx.numpy_helper")
        inputs = [helper.make_tensor_value_info(HISTORY, onnx.TensorProto.INT64, ["n", "length"])]
        outputs = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            for name, shape in self.outputs.items()
        ]
        constants = [
            numpy_helper.from_array(np.asarray(value, order="C"), name)
            for name, value in self.constants.items()
        ]
        graph = helper.make_graph(self.nodes, "ld4mrec", inputs, outputs, constants)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, producer_name="ld4mrec")
        model.ir_version = IR_VERSION
        helper.set_model_props(model, dict(metadata))
        if self.n_bytes <= EXTERNAL_DATA_BYTES:
            onnx.save_model(model, str(path))
            return [path.name]
        data = path.name + DATA_SUFFIX
        onnx.save_model(model, str(path), save_as_external_data=True, location=data)
        return [path.name, data]
