"""Official weights -> self-describing ONNX. The only folder with knowledge of the systems; needs the `export` extras."""
