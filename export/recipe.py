"""A recipe: what the tensors of one's own ONNX file mean, in TOML. Owns its keys, and what is said of wrong ones.

Knows no graph: `own_file.py` brings the two together. docs/FORMAT.md has every key.
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from posert import __version__
from posert.errors import PosertError
from posert.poses import Skeleton
from posert.postprocess import decoder, names, suppression_rule
from posert.runtime.spec import FORMAT, ModelSpec, Stage, check
from posert.skeletons import mirrored, named_skeletons
from posert.typed import MISSING, Misfit, read

OPEN = "?"
"""What a key has whose value nobody could know but the network's own people."""
NO_DETECTOR = "none"
_AGAIN = "docs/FORMAT.md says what each key means; posert tag FILE `guess` prints a recipe to begin with"
_LIMIT_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Node:
    """An operator of ONNX that is written into the graph: before its input, or behind its outputs.

    Attributes:
        op: its name in ONNX's own set, in the version that the graph has (at least 13).
        inputs: names of tensors; a number or a list of numbers is a constant (int64 if whole, else float32), "" none.
        outputs: new names, or the name of an input of the graph, which then comes from here.
        attributes: the operator's.
    """

    op: str
    inputs: tuple[Any, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Keys:
    """The keys of a recipe.

    Attributes:
        skeleton: the name of a set in `skeletons.py`, `none` for a detector, or a table with the fields of `Skeleton`.
        licence: of the weights.
        stage: a table with the fields of `Stage`; its name may be left out.
        model: what the file calls itself; empty = the file's name.
        source: where the weights came from.
        detector: the file, in the same folder, that finds the boxes; `none` if somebody else brings them.
        nodes: see `Node`, in any order.
    """

    skeleton: Any
    licence: str
    stage: Mapping[str, Any]
    model: str = ""
    source: str = ""
    detector: str = NO_DETECTOR
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe that has been read.

    Attributes:
        where: its file, for errors. spec: what it says of the network. detector, nodes: see `_Keys`.
    """

    where: str
    spec: ModelSpec
    detector: str
    nodes: tuple[Node, ...]

    def wrong(self, key: str, expected: str, got: Any) -> PosertError:
        """The error about the value of a key."""
        return _wrong(self.where, Misfit(key, expected, got).what)

    def check(self, spec: ModelSpec) -> None:
        """Rules over several keys, of the whole model, its detector included; raises PosertError, by key."""
        try:
            check(spec)
        except Misfit as error:
            own = error.path.replace(f"posert.stages.{self.spec.stages[0].name}", "stage").removeprefix("posert.")
            raise _wrong(self.where, error.at(own).what) from None


def read_recipe(recipe: str | Path | Mapping[str, Any], model: str) -> Recipe:
    """The recipe in a TOML file, or already parsed.

    Args:
        model: what the network is called if the recipe does not say.

    Raises:
        PosertError: no such file, wrong syntax (says the line), keys still open (all of them), a key that is not known,
            is missing, or has a wrong value (says which).
    """
    where, data = ("the recipe", recipe) if isinstance(recipe, Mapping) else (str(recipe), _parsed(Path(recipe)))
    if left_open := list(_open_keys(data, "")):
        raise PosertError(
            f"{where} leaves open: {', '.join(left_open)}",
            f'write what the network takes in place of "{OPEN}"; who trained it knows, its training configuration says',
        )
    try:
        return _read(where, dict(data), model)
    except Misfit as error:
        lacking = error.expected.removeprefix(MISSING)
        what = error.what if lacking == error.expected else f"{error.path} lacks {lacking}"
        raise _wrong(where, what.removeprefix("recipe.")) from None


def _wrong(where: str, what: str) -> PosertError:
    return PosertError(f"{where}: {what}", _AGAIN)


def _parsed(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _LIMIT_BYTES:
            raise PosertError(f"{file} has more than {_LIMIT_BYTES} bytes: no recipe", "give a recipe (TOML)")
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))  # Windows' editors write a byte order mark
    except OSError as error:
        raise PosertError(f"the recipe {file} cannot be read: {error.strerror}", "check the path") from None
    except UnicodeDecodeError:
        raise PosertError(f"{file} is no text in UTF-8", "give a recipe (TOML), not the network") from None
    except (ValueError, RecursionError) as error:  # of tomllib, or a number of thousands of digits
        what = f"{file} is not TOML: {error}"
        raise PosertError(what, "texts stand in quotes, lists in brackets: see toml.io") from None


def _open_keys(value: Any, key: str) -> Iterator[str]:
    """The keys, `stage.input.mean`, whose value is `OPEN`."""
    if value == OPEN:
        yield key
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _open_keys(item, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _open_keys(item, f"{key}[{i}]")


def _read(where: str, data: dict[str, Any], model: str) -> Recipe:
    keys: _Keys = read(_Keys, data, "recipe")
    skeleton = _skeleton(keys.skeleton)
    name = "pose" if skeleton.names else "detector"
    stage: Stage = read(Stage, {"name": name, **keys.stage}, "stage")
    _check_stage(stage, keys.detector)
    if not keys.licence.strip():
        raise Misfit("licence", 'that of the weights in words, or "not known"', keys.licence)
    if keys.model and (Path(keys.model).name != keys.model or "\\" in keys.model or not keys.model.strip()):
        raise Misfit("model", "a name without folder", keys.model)
    made_by = f"posert {__version__}"
    spec = ModelSpec(FORMAT, "own", keys.model or model, skeleton, (stage,), keys.licence, keys.source, made_by)
    return Recipe(where, spec, keys.detector, keys.nodes)


def _skeleton(given: Any) -> Skeleton:
    """The set of that name, or the one written out; keypoints with a left and a right are each other's mirror image."""
    known = named_skeletons()
    if isinstance(given, str):
        if given not in known:
            near = difflib.get_close_matches(given.lower(), known, 1)
            own = "a table [skeleton] of names and edges"
            raise Misfit("skeleton", f"{near[0]}, or {own}" if near else f"{own}, or one of {', '.join(known)}", given)
        return known[given]
    skeleton: Skeleton = read(Skeleton, given, "skeleton")
    _check_skeleton(skeleton)
    sided = any("left" in name or "right" in name for name in skeleton.names)
    return replace(skeleton, flip=mirrored(skeleton.names)) if sided and not skeleton.flip else skeleton


def _check_skeleton(given: Skeleton) -> None:
    """Rules of a written skeleton: raises Misfit, by key."""
    count = len(given.names)
    if twice := next((name for i, name in enumerate(given.names) if name in given.names[:i]), None):
        raise Misfit("skeleton.names", "each keypoint once", twice)
    for key, indices in [*((f"edges[{i}]", pair) for i, pair in enumerate(given.edges)), ("flip", given.flip)]:
        if any(not 0 <= k < count for k in indices):
            raise Misfit(f"skeleton.{key}", f"keypoint indices 0..{count - 1}, counted from 0", indices)
    if len(given.flip) == count and any(given.flip[other] != k for k, other in enumerate(given.flip)):
        raise Misfit("skeleton.flip", "pairs: where flip[a] is b, flip[b] is a", given.flip)


def _check_stage(stage: Stage, detector: str) -> None:
    """Rules of a recipe alone: raises Misfit, by key."""
    if all(0 < value < 1 for value in stage.input.std):
        raise Misfit("stage.input.std", "units of 0..255, as mean: those of 0..1 times 255", stage.input.std)
    _one_of("stage.decoder", names("decoders"), stage.decoder)
    roles = decoder(stage.decoder).KERNELS.roles
    if not stage.outputs or not set(stage.outputs) <= set(roles):
        raise Misfit("stage.outputs", f"roles of the decoder {stage.decoder}: {', '.join(roles)}", dict(stage.outputs))
    for key, given in (("file", stage.file), ("sha256", stage.sha256)):
        if given is not None:
            raise Misfit(f"stage.{key}", "no such key: the network is the file that is tagged", given)
    if stage.input.fit == "boxes" and stage.region == "frame":
        raise Misfit("stage.input.fit", 'another one, stage.region is "frame": corner, center, stretch', "boxes")
    if detector != NO_DETECTOR and (stage.region == "frame" or Path(detector).name != detector):
        raise Misfit("detector", 'none if stage.region is "frame"; a file name without folder', detector)
    _check_params("stage.params", decoder(stage.decoder).Params, stage.params)
    if stage.suppress is not None:
        _one_of("stage.suppress", names("suppression"), stage.suppress)
        _check_params("stage.suppress_params", suppression_rule(stage.suppress).Params, stage.suppress_params)


def _one_of(key: str, known: list[str], given: str) -> None:
    if given not in known:
        raise Misfit(key, " | ".join(known), given)


def _check_params(key: str, kind: Any, values: Mapping[str, Any]) -> None:
    """`Params` checks itself, and calls a value by its own name alone."""
    try:
        read(kind, values, key)
    except Misfit as error:
        raise error if error.path.startswith(key) else error.at(f"{key}.{error.path}") from None
