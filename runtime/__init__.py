"""Frames in, people out: ONNX Runtime, video reading, the loop. Knows `ModelSpec`, never the name of a system.

Its public names stand in `posert` itself.
"""
