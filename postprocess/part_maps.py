"""Heatmaps and part-affinity fields: what decoders of them check alike. Knows shapes and skeletons, no decoder.

Roles: `heatmaps` f32 [R,>=K,h,w] (a background map may follow the K parts) and `pafs` f32 [R,C,h,w].
"""

from posert.postprocess.decoding import EDGES, FIRST_LIST, HEIGHT, KEYPOINTS, WIDTH
from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.workspace import listed, listed_pairs, outside

ROLES = ("heatmaps", "pafs")
PROBLEMS = (
    "heatmaps must be [R,>=K,h,w] with a map for each of the skeleton's K keypoints",
    "pafs must be [R,C,h,w] with the channels of paf_channels, and as large as heatmaps",
    "paf_channels must be a pair of channels for each of the skeleton's edges",
    "the skeleton's edges must join its keypoints",
    "the maps or the network's input are empty or too large",
)
TOO_LARGE = -5
MOST_BYTES = 1 << 29
MOST_SAMPLES = 1 << 26
"""At most so much reading of fields in a picture, if every peak is tried with every other; see `peaks_each`."""
_MOST, _MOST_PARTS = 1 << 20, 1 << 12  # sides and edges: their products fit in 64 bits; keypoints


@jit
def peaks_each(most, edges, samples):
    """How many peaks each part may have: `most`, or less with so many edges that all pairs of peaks, `samples` of the
    fields each, would be more than `MOST_SAMPLES`. Bounds time and memory for skeletons of hundreds of edges."""
    while most > 1 and edges * most * most * samples > MOST_SAMPLES:
        most -= 1
    return most


@jit
def part_maps_problem(shapes, size, table):
    """0, or which of `PROBLEMS` a decoder has whose first list is `paf_channels`; see `DecoderKernels`."""
    parts, edges, channels = size[KEYPOINTS], listed_pairs(table, EDGES), listed(table, FIRST_LIST)
    h, w = shapes[0, 2], shapes[0, 3]
    if shapes[0, 1] < parts or h < 1 or w < 1 or shapes[0, 4] != 0:
        return -1
    if shapes[1, 0] != shapes[0, 0] or shapes[1, 2] != h or shapes[1, 3] != w or shapes[1, 4] != 0:
        return -2
    if channels.shape[0] != 2 * edges.shape[0]:
        return -3
    if outside(channels, shapes[1, 1]):
        return -2
    if parts < 1 or outside(listed(table, EDGES), parts):
        return -4
    if min(size[WIDTH], size[HEIGHT]) < 1 or max(h, w, len(edges), size[WIDTH], size[HEIGHT]) > _MOST:
        return TOO_LARGE
    return TOO_LARGE if parts > _MOST_PARTS else 0
