"""All arrays that decoding one row needs, in one workspace. Knows their sizes, not what is done with them."""

from collections import namedtuple

import numpy as np

from posert.postprocess.decoders.cifcaf.caf import take_connections
from posert.postprocess.decoders.cifcaf.cif import take_maps, take_seeds
from posert.postprocess.decoders.cifcaf.grow import take_graph
from posert.postprocess.decoders.cifcaf.nms import take_candidates
from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.workspace import take

Work = namedtuple("Work", "ready graph frontier maps cells seeds associations connections poses")
"""Everything that decoding one row writes to, in one workspace; `ready` i64 [1]: 1 once the graph is filled."""


@jit
def take_work(workspace, parts, edges, h, w, stride):
    """The `Work` in a workspace, and its bytes, for h x w cells of `stride` px and a skeleton of so many edges."""
    high, wide = (h - 1) * stride + 1, (w - 1) * stride + 1
    ready, at = take(workspace, 0, (1,), np.int64)
    graph, frontier, at = take_graph(workspace, at, parts, edges)
    maps, at = take_maps(workspace, at, parts, high, wide)
    cells, seeds, at = take_seeds(workspace, at, parts * h * w)
    associations, connections, at = take_connections(workspace, at, edges, h, w, stride)
    poses, at = take_candidates(workspace, at, parts, high, wide)
    return Work(ready, graph, frontier, maps, cells, seeds, associations, connections, poses), at
