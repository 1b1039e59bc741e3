"""ONNX graphs from observations to features: numbers with scale and encoder, or a conv head."""

import math
from typing import cast

from torch import nn

from ncp_control.deploy.onnx.dense_cells import linear
from ncp_control.deploy.onnx.graph import Graph, Value
from ncp_control.deploy.onnx.wired import numbers
from ncp_control.policy import FramesPolicy, VectorPolicy
from ncp_control.policy.heads import ConvHead, square_convolutions


def vector_features(graph: Graph, policy: VectorPolicy) -> Value:
    """Add the input of numbers and return their features."""
    x = _scaled(graph, policy, "observation", policy.observation_size)
    for layer in policy.encoder:
        if isinstance(layer, nn.Linear):
            x = graph.tanh(linear(graph, layer, x))
    return x


def _scaled(graph: Graph, policy: VectorPolicy | FramesPolicy, name: str, size: int) -> Value:
    """Add an input of numbers and return the scaled numbers."""
    x = graph.input(name, "FLOAT", ["batch", size], "numbers in the order of the contract")
    mean, deviation = numbers(policy.observation_mean), numbers(policy.observation_std)
    if mean.any() or (deviation != 1.0).any():
        x = (x - mean) / deviation
    limit = policy.observation_limit
    return graph.op("Clip", x, -limit, limit) if math.isfinite(limit) else x


def frames_features(graph: Graph, policy: FramesPolicy) -> Value:
    """Add the input of frames, and of numbers beside them, and return the circuit's features.

    Raises:
        ValueError: If the head does not consist of square convolutions and ReLUs.
    """
    layers, head = square_convolutions(policy.head), cast(ConvHead, policy.head)
    doc = "frames (height, width, channels), rows from the top, 0 to 255, cut as in the contract"
    frame = graph.input("observation", "UINT8", ["batch", *head.frame_shape], doc)
    pixels = graph.op("Cast", frame, to=1)  # to float
    axes = {"axes": [1, 2, 3], "keepdims": 1}
    centred = pixels - graph.op("ReduceMean", pixels, **axes)
    variance = graph.op("ReduceMean", centred * centred, **axes)
    x = centred / graph.op("Sqrt", graph.op("Max", variance, 1.0))
    x = graph.op("Transpose", x, perm=[0, 3, 1, 2])
    for layer in layers:
        assert layer.bias is not None
        stride, padding = layer.stride[0], int(layer.padding[0])
        settings = {"strides": [stride] * 2, "pads": [padding] * 4}
        settings["kernel_shape"] = list(layer.kernel_size)
        x = graph.relu(graph.op("Conv", x, numbers(layer.weight), numbers(layer.bias), **settings))
    maps, places, per_map = head.weight.shape
    # Each map has its own dense layer: (maps, batch, places) @ (maps, places, features).
    x = graph.op("Transpose", graph.reshape(x, -1, maps, places), perm=[1, 0, 2])
    x = graph.op("MatMul", x, numbers(head.weight)) + numbers(head.bias)
    x = graph.op("Transpose", x, perm=[1, 0, 2])
    features = graph.relu(graph.reshape(x, -1, maps * per_map))
    if not policy.numbers:
        return features
    return graph.join([features, _scaled(graph, policy, "numbers", policy.numbers)])
