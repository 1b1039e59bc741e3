"""Policies outside this library: as C source, or as an ONNX model."""
