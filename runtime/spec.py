"""What a model file says about itself: one JSON document, strictly read. Standard library only (and `Skeleton`).

Owns the metadata format. Knows nothing of ONNX Runtime, files or systems; `system` and `model` are labels for people.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from posert.errors import PosertError
from posert.poses import TORSO, Skeleton, first_of
from posert.runtime.region_spec import Parts, Turn, part_rules, turn_rules
from posert.typed import Misfit, Range, Share, read

FORMAT, NEWEST_FORMAT = 1, 2
"""What a file is written with, unless it says what only the newest can; and the newest that is read."""
METADATA_KEY = "posert"
METADATA_LIMIT_BYTES = 1_000_000
_AGAIN = "export the model again (posert export), or give it its metadata with: posert tag FILE `name`"

Side = Annotated[int, Range(0, 16384)]
Fit = Literal["stretch", "center", "letterbox", "corner", "corner_pixels", "square", "boxes"]
Align = Literal["half_pixel", "half_pixel_blend", "corners", "origin", "edges"]
Number = Literal["width", "height"] | int | float
"""Of a constant: itself, or a side of the input, px."""
# what format 1 had not: fields and what they are where they say nothing, and words
_NEW_IN_INPUT: Mapping[str, Any] = {"margin": None}
_NEW_IN_STAGE: Mapping[str, Any] = {
    "constants": {}, "turn": None, "keypoint_count": 0, "max_iou": 0.3, "parts": None, "scale_step": 0,
}  # fmt: skip
_NEW_WORDS = {"float16", "edges"}


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How a rectangle of the frame (a window) becomes the network's input tensor.

    Attributes:
        name: tensor name in the graph.
        layout: order of the axes; N is the row (region) axis.
        dtype: element type; `float16` is the nearest one to float32, as numpy casts.
        color: channel order.
        size_wh: largest input width and height, px; 0 = that side is free.
        fit: `stretch` fills the input; `center` and `corner` keep the aspect ratio and pad around, or right and below;
            `corner_pixels` is `corner` with the corner pixels of both on each other, a free width at most 16:9;
            `letterbox` is `center` with the content's whole pixels centred (YOLO's way);
            `square` is the padded square around the frame's centre; `boxes` widens each box to the input's aspect.
        multiple_of: the input's sides are the content's, rounded up to a multiple of this; 0 = exactly `size_wh`.
        multiple_plus: such a side is this much more than a multiple: 16 and 1 give 16 k + 1.
        margin: how many times as large as its box a window is; None = 1.2 for `square`, 1.25 otherwise.
        align: where sample i of S lies in the window: `half_pixel` at (i + 0.5) / S of it, in pixel centres (OpenCV
            and TensorFlow resize); `half_pixel_blend` there too, the frame's border blending into the padding;
            `corners` on corner pixels (TensorFlow's crop_and_resize); `origin` at i / S (warpAffine); `edges` at
            i / (S - 1), on both edges (UDP, whose maps the decoder `heatmap` reads with `udp`).
            Cubic and area know only `half_pixel`.
        interpolation: `area` averages when it shrinks and is linear when it enlarges; cubic is Keys with a = -0.75;
            `linear_or_cubic` is linear when it shrinks and cubic when it enlarges.
        rounding: the sampled value 0..255 is kept, rounded to the nearest, or truncated before mean and std.
        pad_value: 0..255 per channel, in `color` order, outside the frame.
        mean, std: per channel in `color` order, in units of 0..255: tensor = (value - mean) / std.
    """

    name: str
    layout: Literal["NCHW", "NHWC"]
    dtype: Literal["float32", "uint8", "int32", "float16"]
    color: Literal["rgb", "bgr"]
    size_wh: tuple[Side, Side]
    fit: Fit
    multiple_of: Side = 0
    align: Align = "half_pixel"
    interpolation: Literal["linear", "cubic", "area", "linear_or_cubic"] = "linear"
    rounding: Literal["none", "round", "truncate"] = "none"
    pad_value: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    multiple_plus: Side = 0
    margin: Annotated[float, Range(above=0, most=100)] | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One network and the decoder of its outputs.

    Attributes:
        name: what the timings call it.
        region: what it looks at: the whole `frame`, the last stage's `boxes`, or the last frame's pose (`follow`);
            behind a detector it follows everybody, and looks at the boxes of whom it does not know. `parts`: at parts
            of the people whom the stages before found; no file says so, a file with `parts` looks at boxes until it is
            joined to a model.
        input: its input tensor.
        outputs: role -> tensor name; the decoder names the roles it reads.
        decoder: a file of `postprocess/`.
        params: values over the decoder's defaults.
        suppress: the rule that drops people found twice, a file of `postprocess/suppression/`; for regions of boxes
            alone.
        suppress_params: values over the rule's defaults.
        scales: the network sees the frame at each of these shares of the input's size, and the decoder averages; for
            the whole frame, and decoders that can.
        scale_step: the sides at these sizes are multiples of this; 0 = of the input's `multiple_of`.
        max_iou: a box that overlaps a followed person's region more (intersection over union) is that person's, and
            nobody new.
        file, sha256: the companion file of this stage, a bare name in the model's own folder, and its hash; None means
            the model file itself.
        constants: further inputs of the graph, tensor name -> the numbers of one row, or of the whole tensor if its
            first axis has a fixed length; a single number fills it. `width` and `height` are those of `input`, px.
        turn: how regions of people are turned; None = they are upright.
        keypoint_count: how many keypoints the decoder finds, if this is not the last stage, whose are the skeleton's.
        parts: of a network for hands, faces and the like: which parts of people it looks at, and where these are.
    """

    name: str
    region: Literal["frame", "boxes", "follow", "parts"]
    input: InputSpec
    outputs: Mapping[str, str]
    decoder: str
    params: Mapping[str, Any] = field(default_factory=dict)
    suppress: str | None = None
    suppress_params: Mapping[str, Any] = field(default_factory=dict)
    file: str | None = None
    sha256: str | None = None
    scales: tuple[Annotated[float, Range(above=0, most=1)], ...] = (1.0,)
    constants: Mapping[str, tuple[Number, ...]] = field(default_factory=dict)
    turn: Turn | None = None
    keypoint_count: Annotated[int, Range(0, 1000)] = 0
    max_iou: Share = 0.3
    parts: Parts | None = None
    scale_step: Side = 0


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything the runtime needs to know of a model.

    Attributes:
        format: `FORMAT`; `to_json` writes a newer one where a field needs it.
        system, model: labels for people (`openpose`, `tfpose-mobilenet-v2-small`); no code looks at them.
        skeleton: keypoints and limbs of the last stage.
        stages: in order; each one's boxes are the next one's regions.
        licence: licence of the weights.
        source: where the weights came from (address and sha256).
        made_by: program and version that wrote this.
    """

    format: int
    system: str
    model: str
    skeleton: Skeleton
    stages: tuple[Stage, ...]
    licence: str = ""
    source: str = ""
    made_by: str = ""


def body_stages(spec: ModelSpec) -> tuple[Stage, ...]:
    """The stages that find people, without those that look at parts of them."""
    return tuple(stage for stage in spec.stages if stage.region != "parts")


def skeleton_of(spec: ModelSpec, stage: Stage) -> Skeleton:
    """What the stage's decoder finds: the people's keypoints without those of parts, or so many by number."""
    body = body_stages(spec)
    if stage is body[-1] or not stage.keypoint_count:
        added = sum(len(part.names) for other in spec.stages[len(body) :] if other.parts for part in other.parts.each)
        return first_of(spec.skeleton, len(spec.skeleton.names) - added)
    return Skeleton(tuple(map(str, range(stage.keypoint_count))), ())


def to_json(spec: ModelSpec) -> str:
    """Compact JSON; `from_json` gives the same value back.

    A file that says nothing new is readable by every posert; of another one an older posert says to update.
    """
    data = dataclasses.asdict(spec)
    newer = [_is_newer(stage, _NEW_IN_STAGE) | _is_newer(stage["input"], _NEW_IN_INPUT) for stage in data["stages"]]
    data["format"] = NEWEST_FORMAT if any(newer) else spec.format
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def _is_newer(record: dict[str, Any], fields: Mapping[str, Any]) -> bool:
    """Whether it says what format 1 could not; fields that format 1 had not are dropped where they say nothing."""
    for name, nothing in fields.items():
        if record[name] == nothing:
            del record[name]
    return not fields.keys().isdisjoint(record) or not _NEW_WORDS.isdisjoint((record.get("dtype"), record.get("align")))


def from_json(text: str) -> ModelSpec:
    """The `ModelSpec` in `text`, every field checked for its type, unknown fields refused.

    Raises:
        PosertError: not JSON, too large, a newer format, or fields that do not fit; says which.
    """
    if len(text) > METADATA_LIMIT_BYTES:
        raise PosertError(
            f"the model's metadata has {len(text)} bytes; at most {METADATA_LIMIT_BYTES} are read", _AGAIN
        )
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PosertError(f"the model's metadata is not JSON: {error}", _AGAIN) from None
    found = data.get("format") if isinstance(data, dict) else None
    if isinstance(found, int) and found > NEWEST_FORMAT:
        raise PosertError(
            f"the model's metadata has format {found}; this posert reads up to {NEWEST_FORMAT}",
            "update posert: pip install -U posert",
        )
    try:
        spec: ModelSpec = read(ModelSpec, data, "posert")
        check(spec)
    except Misfit as error:
        raise PosertError(f"the model's metadata is wrong: {error.what}", _AGAIN) from None
    return dataclasses.replace(spec, format=min(spec.format, FORMAT))


def check(spec: ModelSpec) -> None:
    """Rules that types cannot say; raises Misfit, with the place as `posert.stages.pose.input.std`."""
    count = len(spec.skeleton.names)
    indices = [i for edge in spec.skeleton.edges for i in edge] + list(spec.skeleton.flip)
    if any(not 0 <= i < count for i in indices):
        raise Misfit("posert.skeleton", f"keypoint indices 0..{count - 1}", indices)
    for name in ("sigmas", "flip"):
        if len(getattr(spec.skeleton, name)) not in (0, count):
            raise Misfit(f"posert.skeleton.{name}", f"{count} values or none", getattr(spec.skeleton, name))
    if not spec.stages:
        raise Misfit("posert.stages", "at least one stage", spec.stages)
    for stage in spec.stages:
        for place, good, expected, got in [*_rules(stage, spec), *turn_rules(stage, spec), *part_rules(stage, spec)]:
            if not good:
                raise Misfit(f"posert.stages.{stage.name}.{place}", expected, got)


def _rules(stage: Stage, spec: ModelSpec) -> list[tuple[str, bool, str, Any]]:
    """Of one stage: field, whether it is good, what is expected, what is there."""
    given, file, same = stage.input, stage.file, [other for other in spec.stages if other.name == stage.name]
    free, bare = 0 in given.size_wh, file is None or (file not in ("", ".", "..") and not {"/", "\\"} & set(file))
    seen = stage.region != "follow" or stage.turn is not None or set(TORSO) <= set(spec.skeleton.names)
    plain = given.interpolation not in ("cubic", "area") or given.align == "half_pixel"
    one_scale = len(stage.scales) == 1 or (stage.region == "frame" and given.multiple_of > 0)
    first, looks = stage is spec.stages[0], [other.region for other in spec.stages]
    behind = first or stage.region != "follow" or (looks == ["frame", "follow"] and stage.turn is None)
    rule = stage.suppress is None or stage.region == "boxes" or (stage.region == "follow" and not first)
    fed = given.name not in stage.constants and all(stage.constants.values())
    return [
        ("name", len(same) == 1, "a name of its own", stage.name),
        ("region", seen, f"frame or boxes, to follow takes {', '.join(TORSO)}", stage.region),
        (
            "region",
            behind,
            "frame or boxes; behind one detector people are followed, not turned",
            stage.region,
        ),
        ("input.multiple_plus", given.multiple_plus <= given.multiple_of, "0..multiple_of", given.multiple_plus),
        ("input.std", 0 not in given.std, "values other than 0", given.std),
        ("input.size_wh", not free or given.fit not in ("square", "boxes"), "two sides other than 0", given.size_wh),
        ("input.align", plain, "half_pixel unless linear", given.align),
        ("scales", 1 <= len(stage.scales) <= 16, "1 to 16 values", stage.scales),
        ("scales", one_scale, "one, the input has one size", stage.scales),
        ("suppress", rule, "none, the stage does not look at boxes", stage.suppress),
        ("file", bare, "a bare file name", file),
        ("constants", fed, "one number or more of each, and not the picture", dict(stage.constants)),
    ]
