"""Official weights -> self-describing ONNX. Alone in knowing the systems; needs the `export` extras."""
