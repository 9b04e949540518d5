"""Where a model looks in a frame: the whole of it, boxes, or around the last frame's people."""
