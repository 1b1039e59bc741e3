"""Policies as ONNX models: circuit, head or encoder, and contract in one file.

Needs the packages onnx and onnxruntime: `pip install ncp-control[onnx]`.
"""

from ncp_control.deploy.onnx.controller import OnnxController
from ncp_control.deploy.onnx.export import CELL_GRAPHS, OnnxModel, to_onnx

__all__ = ["CELL_GRAPHS", "OnnxController", "OnnxModel", "to_onnx"]
