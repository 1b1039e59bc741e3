"""ONNX graph under construction; its values support arithmetic like arrays.

    graph = Graph()
    x = graph.input("x", FLOAT, ["batch", 3], "three numbers")
    y = graph.dense(x, weight, bias) * 0.5
    graph.output("y", y, FLOAT, ["batch", 2])

Operators are those of opset 17, supported by ONNX Runtime since 1.12. A constant that is used
several times is stored once.
"""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ncp_control.cells.plain_numbers import to_float32

OPSET, IR_VERSION = 17, 8
MOST_NODES = 20_000
"""Largest number of operations; larger graphs take minutes to load."""


def find_package(name: str) -> Any:
    """Import onnx or onnxruntime.

    Raises:
        ModuleNotFoundError: If it is missing; the message says what to install.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name} is missing, which export to ONNX needs. Run `pip install ncp-control[onnx]`."
        ) from error


class Value:
    """Result of an operation in a graph, with the operators of an array."""

    __array_ufunc__ = None  # numpy arrays on the left leave the operation to this class

    def __init__(self, graph: "Graph", name: str) -> None:
        self.graph, self.name = graph, name

    def __add__(self, other: "Operand") -> "Value":
        return self.graph.op("Add", self, other)

    def __sub__(self, other: "Operand") -> "Value":
        return self.graph.op("Sub", self, other)

    def __rsub__(self, other: "Operand") -> "Value":
        return self.graph.op("Sub", other, self)

    def __mul__(self, other: "Operand") -> "Value":
        return self.graph.op("Mul", self, other)

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other: "Operand") -> "Value":
        return self.graph.op("Div", self, other)


Operand = Value | np.ndarray | float
"""Operand of an operation. Constants are arrays of the operator's type, or real numbers."""


class Graph:
    """Nodes, constants, inputs and outputs of an ONNX model.

    Raises:
        ModuleNotFoundError: If onnx is not installed.
    """

    def __init__(self) -> None:
        self._onnx = find_package("onnx")
        self._nodes: list[Any] = []
        self._constants: dict[tuple[Any, ...], tuple[str, Any]] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    @property
    def num_nodes(self) -> int:
        """Number of operations so far."""
        return len(self._nodes)

    def input(self, name: str, kind: str, shape: Sequence[int | str], doc: str) -> Value:
        """Declare an input; `kind` is the name of an ONNX type, e.g. FLOAT."""
        self._inputs.append(self._info(name, kind, shape, doc))
        return Value(self, name)

    def output(
        self, name: str, value: Value, kind: str, shape: Sequence[int | str], doc: str
    ) -> None:
        """Declare an output."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value.name], [name]))
        self._outputs.append(self._info(name, kind, shape, doc))

    def _info(self, name: str, kind: str, shape: Sequence[int | str], doc: str) -> Any:
        number = getattr(self._onnx.TensorProto, kind)
        return self._onnx.helper.make_tensor_value_info(name, number, list(shape), doc)

    def constant(self, value: np.ndarray | float) -> Value:
        """Add a constant; real numbers become float32."""
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = to_float32(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._constants[key] = (name, self._onnx.numpy_helper.from_array(array, name))
        return Value(self, self._constants[key][0])

    def op(self, kind: str, *inputs: Operand, **attributes: Any) -> Value:
        """Apply an operator with one result."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, results: int, *inputs: Operand, **attributes: Any) -> list[Value]:
        """Apply an operator with several results.

        Raises:
            ValueError: If the graph grows too large.
        """
        if len(self._nodes) >= MOST_NODES:
            raise ValueError(
                f"`policy` must take at most {MOST_NODES} operations a step in ONNX, got more."
                " Lower `unfolds`, or export it to C."
            )
        values = [x if isinstance(x, Value) else self.constant(x) for x in inputs]
        number = len(self._nodes)
        names = [f"{kind}_{number}" + (f"_{k}" if results > 1 else "") for k in range(results)]
        node = self._onnx.helper.make_node(
            kind, [v.name for v in values], names, name=f"{kind}_{number}", **attributes
        )
        self._nodes.append(node)
        return [Value(self, name) for name in names]

    def dense(self, x: Value, weight: Operand, start: Operand) -> Value:
        """Return start + x weightᵀ; `weight` has a row for each output."""
        return self.op("Gemm", x, weight, start, transB=1)

    def split(self, x: Value, sizes: Sequence[int]) -> list[Value]:
        """Split x along its second axis into parts of the given sizes."""
        if len(sizes) == 1:
            return [x]
        return self.ops("Split", len(sizes), x, np.array(sizes, np.int64), axis=1)

    def cut(self, x: Value, start: int, stop: int) -> Value:
        """Return x[:, start:stop]."""
        bounds = [np.array([number], np.int64) for number in (start, stop, 1)]
        return self.op("Slice", x, *bounds)

    def join(self, values: Sequence[Value]) -> Value:
        """Concatenate values along the second axis."""
        return values[0] if len(values) == 1 else self.op("Concat", *values, axis=1)

    def pick(self, x: Value, columns: np.ndarray) -> Value:
        """Return x[:, columns]."""
        return self.op("Gather", x, columns.astype(np.int64), axis=1)

    def reshape(self, x: Value, *shape: int) -> Value:
        """Return x in another shape; -1 stands for the remaining size."""
        return self.op("Reshape", x, np.array(shape, np.int64))

    def sum(self, x: Value, axis: int) -> Value:
        """Sum over an axis, which is removed."""
        return self.op("ReduceSum", x, np.array([axis], np.int64), keepdims=0)

    def sigmoid(self, x: Value) -> Value:
        """Return 1 / (1 + exp(-x))."""
        return self.op("Sigmoid", x)

    def tanh(self, x: Value) -> Value:
        """Return the hyperbolic tangent."""
        return self.op("Tanh", x)

    def relu(self, x: Value) -> Value:
        """Return max(0, x)."""
        return self.op("Relu", x)

    def exp_of_minus(self, x: Value) -> Value:
        """Return exp(-x)."""
        return self.op("Exp", self.op("Neg", x))

    def one_minus_exp(self, x: Value) -> Value:
        """Return 1 - exp(-x), accurate also for small x, as tanh(x / 2) (1 + exp(-x)).

        ONNX has no `expm1`. The plain difference would lose digits in the step of a slow neuron,
        with an error in the same direction in all steps.
        """
        return self.tanh(x * 0.5) * (self.exp_of_minus(x) + 1.0)

    def model(self, name: str, doc: str, properties: dict[str, str], version: str) -> bytes:
        """Return the content of the model file, checked by onnx."""
        helper = self._onnx.helper
        tensors = [tensor for _, tensor in self._constants.values()]
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, tensors)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="ncp-control",
            producer_version=version,
            doc_string=doc,
        )
        helper.set_model_props(model, properties)
        self._onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)
