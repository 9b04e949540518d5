"""Models for programs that are not Python: the C library of a model, the generated headers, fused networks."""
