"""Export of policies to C source or an ONNX model, and links to simulators and robots."""
