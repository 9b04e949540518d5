"""A recipe to begin with, from a graph's shapes and names; what they do not say is left open. Knows onnx and TOML."""

import ast
import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from posert.errors import PosertError
from posert.export import onnx_file, signatures
from posert.export.adapters import adapters
from posert.export.onnx_nodes import ONNX_TYPES, add_nodes, choose_outputs, inputs_of, shape_of
from posert.export.onnx_versions import widely_readable
from posert.export.recipe import NO_DETECTOR, OPEN, Recipe
from posert.export.signatures import Guess, Seen
from posert.poses import Skeleton
from posert.postprocess import names
from posert.runtime.devices import import_onnxruntime
from posert.runtime.metadata import metadata_text
from posert.runtime.spec import FORMAT, METADATA_KEY, InputSpec, ModelSpec, Stage, from_json
from posert.skeletons import named_skeletons

_FREE_WH = (320, 256)  # a size that networks of any input size are tried at, px
_LONGEST = 110
_LONGEST_ENTRY, _MOST_PARTS = 100_000, 1000  # of metadata: characters; keypoints of a person
_COMMENTS = {
    "licence": "of the weights",
    "skeleton": "the name of a keypoint set, or a table [skeleton] of names, edges, sigmas and flip",
    "detector": "a tagged detector in the folder of the result; none = whoever runs it gives boxes",
    "stage.region": "frame; boxes of a detector; or follow, one person from picture to picture",
    "stage.input.color": "rgb or bgr",
    "stage.input.size_wh": "width and height, px",
    "stage.input.fit": "corner, center, letterbox, stretch: where the picture lies in the input; the rest is padding",
    "stage.input.multiple_of": "its sides are rounded up to a multiple of this, px",
    "stage.params.paf_channels": "the channels of x and y for each edge: [[0, 1], [2, 3], ...]",
    "stage.params.box": "xyxy, yxyx or cxcywh, which is DETR's",
    "stage.params.unit": "px, or share of the input's sides, which is DETR's",
    "stage.params.sigmoid_scores": "true if scores are below 0 or above 1, as DETR's",
    "stage.params.keypoint_scores": "true if each keypoint is x, y, score; false if it is x, y",
    "stage.params.person": "the class of people: their number among the scores",
    "stage.decoder": f"one of {', '.join(names('decoders'))}",
    'stage.outputs."?"': "role of the decoder = name of the output",
    "stage.input.mean": "subtracted, of 0..255, per channel",
    "stage.input.std": "then divided by, of 0..255",
}


def guess(file: Path) -> str:
    """A recipe (TOML) for an ONNX file, with `?` for what its shapes and names do not say; of a tagged file its own.

    Raises:
        PosertError: there is no such file, it is no ONNX file, or it takes no picture.
    """
    if not file.is_file():
        raise PosertError(f"there is no file {file}", "check the path")
    if text := metadata_text(file, METADATA_KEY):
        head = [f"The recipe of {file.name}, which carries it already."]
        return to_toml(_of_metadata(from_json(text)), {}, head)
    graph = widely_readable(onnx_file.load(file))
    head = [f"  input  {name} {shape_of(value)}" for name, value in inputs_of(graph).items()]
    image, nodes = _image(inputs_of(graph)), list[dict[str, Any]]()
    if image is None:
        graph, image, nodes = _adapted(graph, file)
    outputs = _output_shapes(graph, image, file)
    rows = {name: tuple(shape[1:]) for name, shape in outputs.items()}
    found = signatures.guess(Seen(_sides(image), rows, *_said(graph)))
    if found is not None:
        found = replace(found, nodes=(*nodes, *found.nodes))
    head = [
        f"A recipe for {file.name}: {found.what if found else 'a network of no kind that posert knows by its shapes'}.",
        *head,
        *(f"  output {name} {list(shape)}" for name, shape in outputs.items()),
        f'Replace every "{OPEN}", then give this file to posert tag. docs/FORMAT.md has every key.',
        *([f"Look at this: {found.remark}."] if found and found.remark else []),
    ]
    others = [name for name in inputs_of(graph) if name != image.name]
    return to_toml(_data(file, image, found, others), _comments(found, others), head)


def _said(graph: Any) -> tuple[tuple[int, int] | None, int]:
    """Keypoints and numbers of each, and how many classes, as the entries `kpt_shape` and `names` say that YOLO's
    exporters write: `[17, 3]`, `{0: 'person'}`. None and 0 where they do not.
    """
    said: dict[str, Any] = {}
    for entry in graph.metadata_props:
        if entry.key in ("kpt_shape", "names") and len(entry.value) <= _LONGEST_ENTRY:
            with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
                said[entry.key] = ast.literal_eval(entry.value)
    points: tuple[int, int] | None = None
    match said.get("kpt_shape"):
        case [int(parts), int(size)] if 0 < parts <= _MOST_PARTS and size in (2, 3):
            points = parts, size
    classes = said.get("names")
    return points, len(classes) if isinstance(classes, dict | list) else 0


def _image(inputs: Mapping[str, Any]) -> InputSpec | None:
    """What is known of the input that takes pictures, the first of 4 axes with 3 channels; others are left aside.

    Where no axis has a number, channels are taken to come first.
    """
    kinds = {number: name for name, number in ONNX_TYPES.items()}
    for name, value in inputs.items():
        shape, kind = shape_of(value), kinds.get(value.type.tensor_type.elem_type)
        free = len(shape) == 4 and isinstance(shape[1], str) and isinstance(shape[3], str)
        if kind is not None and len(shape) == 4 and (free or 3 in (shape[1], shape[3])):
            nchw = free or shape[1] == 3
            sides = [side if isinstance(side, int) else 0 for side in (shape[2:] if nchw else shape[1:3])]
            return InputSpec(
                name, "NCHW" if nchw else "NHWC", kind, "rgb", (sides[1], sides[0]), "stretch"  # type: ignore[arg-type]
            )  # fmt: skip
    return None


def _adapted(graph: Any, file: Path) -> tuple[Any, InputSpec, list[dict[str, Any]]]:
    """The graph behind nodes that make its input from a picture, that picture, and the nodes.

    Raises:
        PosertError: it takes no picture.
    """
    inputs, outputs = inputs_of(graph), [value.name for value in graph.graph.output]
    found = adapters(inputs, outputs)
    if found is None:
        known = ", ".join(f"{name} {shape_of(value)}" for name, value in inputs.items())
        raise PosertError(
            f"{file} has no input for pictures: it has {known}",
            "a recipe's nodes can make any input from one that posert can fill; docs/FORMAT.md has an example",
        )
    image, before, behind = found
    stage = Stage("pose", "frame", image, {node.outputs[0]: node.outputs[0] for node in behind}, "")
    spec, nodes = ModelSpec(FORMAT, "", "", Skeleton((), ()), (stage,)), [*before, *behind]
    recipe = Recipe(str(file), spec, NO_DETECTOR, tuple(nodes))
    graph = add_nodes(graph, recipe)
    if behind:
        choose_outputs(graph, stage.outputs.values(), recipe)
    keys = [{key: value for key, value in dataclasses.asdict(node).items() if value} for node in nodes]
    return graph, image, keys


def _sides(image: InputSpec) -> tuple[int, int]:
    wide, high = (side or free for side, free in zip(image.size_wh, _FREE_WH, strict=True))
    return wide, high


def _output_shapes(graph: Any, image: InputSpec, file: Path) -> dict[str, list[int]]:
    """Name -> shape of every output: as declared where that is all numbers, else from a run."""
    declared = {value.name: shape_of(value) for value in graph.graph.output}
    known = {name: shape for name, shape in declared.items() if all(isinstance(side, int) for side in shape[1:])}
    if len(known) == len(declared) and all(known.values()):
        return {name: [1, *(int(side) for side in shape[1:])] for name, shape in known.items()}
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    (wide, high), free = _sides(image), {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    try:
        session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        feed = {}
        for given in session.get_inputs():
            shape = [side if isinstance(side, int) else 1 for side in given.shape]
            if given.name == image.name:
                shape[1:] = [3, high, wide] if image.layout == "NCHW" else [high, wide, 3]
            kind = image.dtype if given.name == image.name else free.get(given.type, np.float32)
            feed[given.name] = np.ones(shape, kind)
        values = session.run(list(declared), feed)
    except Exception as error:  # ONNX Runtime's own kinds
        raise PosertError(
            f"{file} does not run, so that the shapes of its outputs are not known: {str(error).splitlines()[0][:200]}",
            "export it again, with the shapes of its outputs",
        ) from None
    return {name: list(value.shape) for name, value in zip(declared, values, strict=True)}


def _data(file: Path, image: InputSpec, found: Guess | None, others: list[str]) -> dict[str, Any]:
    """The keys of a recipe; `OPEN` where nobody can tell. others: further inputs."""
    given: dict[str, Any] = {"name": image.name, "layout": image.layout, "dtype": image.dtype, "color": OPEN}
    given["size_wh"] = list(image.size_wh) if all(image.size_wh) else OPEN
    if not all(image.size_wh):
        given["multiple_of"] = OPEN
    given["fit"] = found.fit if found else OPEN
    if image.dtype.startswith("float"):
        given |= {"mean": OPEN, "std": OPEN}
    stage: dict[str, Any] = {"region": found.region if found else OPEN, "decoder": found.decoder if found else OPEN}
    stage |= {"input": given, "outputs": dict(found.outputs) if found else {OPEN: OPEN}}
    stage |= {"params": dict(found.params)} if found and found.params else {}
    stage |= {"constants": dict.fromkeys(others, OPEN)} if others else {}
    skeleton = {"skeleton": OPEN if found is None or found.keypoints else "none"}
    detector = {"detector": OPEN} if found and found.region == "boxes" else {}
    nodes = {"nodes": [dict(node) for node in found.nodes]} if found and found.nodes else {}
    return {"model": f"{file.stem}-posert", "licence": OPEN, **skeleton, **detector, "stage": stage, **nodes}


def _comments(found: Guess | None, others: list[str]) -> dict[str, str]:
    """Key -> what belongs there."""
    comments = dict(_COMMENTS)
    numbers = 'what it is fed in every run: a list of numbers, "width" and "height" of the input among them'
    comments |= dict.fromkeys((f"stage.constants.{_word(name)}" for name in others), numbers)
    if found and found.keypoints:
        fitting = [name for name, one in named_skeletons().items() if len(one.names) == found.keypoints]
        own = "a table [skeleton] of names, edges, sigmas and flip"
        comments["skeleton"] = f"{found.keypoints} keypoints: {', '.join([*fitting, own])}"
    if found:
        comments["stage.input.mean"] += f": {found.usual[0]}"
        comments["stage.input.std"] += f": {found.usual[1]}"
    return comments


def _of_metadata(spec: ModelSpec) -> dict[str, Any]:
    """The recipe that gives `spec`, what is as usual left out."""
    stage = spec.stages[-1]
    known = {one: name for name, one in named_skeletons().items()}
    skeleton = known.get(spec.skeleton) or _unusual(spec.skeleton)
    keys = {"model": spec.model, "licence": spec.licence or "not known", "source": spec.source}
    before = {"detector": spec.stages[0].file or NO_DETECTOR} if len(spec.stages) > 1 else {}
    own = {"input": _unusual(stage.input), **_unusual(replace(stage, file=None, sha256=None))}
    texts = {"skeleton": skeleton} if isinstance(skeleton, str) else {}
    tables = {} if isinstance(skeleton, str) else {"skeleton": skeleton}
    return {**keys, **before, **texts, "stage": own | {"input": _unusual(stage.input)}, **tables}


def _unusual(record: Stage | InputSpec | Any) -> dict[str, Any]:
    """The fields of a record that differ from their defaults."""
    found = {}
    for one in dataclasses.fields(record):
        value = getattr(record, one.name)
        usual = one.default_factory() if one.default_factory is not dataclasses.MISSING else one.default
        if value != usual:
            found[one.name] = value
    return found


def to_toml(data: Mapping[str, Any], comments: Mapping[str, str], head: list[str]) -> str:
    """The recipe as text: `head` as comments first, and those of the keys that are open beside them."""
    return "\n".join([*(f"# {line}" for line in head), "", *_table(data, "", comments)]) + "\n"


def _table(data: Mapping[str, Any], key: str, comments: Mapping[str, str]) -> Iterator[str]:
    """The lines of a table: its values, then the tables in it, then lists of tables."""
    tables = {name: value for name, value in data.items() if isinstance(value, Mapping) and name != "attributes"}
    lists = {name: value for name, value in data.items() if _is_tables(value)}
    for name, value in data.items():
        if name not in tables and name not in lists:
            place = f"{key}.{_word(name)}".lstrip(".")
            remark = f"  # {comments[place]}" if place in comments and value == OPEN else ""
            yield f"{_word(name)} = {_value(value)}{remark}"
    for name, value in tables.items():
        place = f"{key}.{_word(name)}".lstrip(".")
        yield from ("", f"[{place}]", *_table(value, place, comments))
    for name, values in lists.items():
        for value in values:
            yield from ("", f"[[{name}]]", *_table(value, name, comments))


def _is_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _word(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)


def _value(value: Any) -> str:
    """TOML writes numbers, texts and lists of them as JSON does."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_word(name)} = {_value(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        whole = "[" + ", ".join(map(_value, value)) + "]"
        return whole if len(whole) <= _LONGEST else "[\n" + "".join(f"    {_value(item)},\n" for item in value) + "]"
    return json.dumps(value)
