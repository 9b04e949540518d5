"""Readers of other frameworks' model files, as torch or ONNX networks. They know file formats, no systems."""
