"""Parameters by name, GROUP.NAME: of a model's stages, of the rule that drops doubles, of how people are followed.

Owns the groups, and what is said of names that they have not. Knows no sessions and no files.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from posert.errors import PosertError
from posert.postprocess import decoder, params_of, suppression_rule
from posert.postprocess.following import FollowOptions
from posert.runtime.spec import ModelSpec, body_stages

FOLLOW, SUPPRESS = "follow", "suppress"
SEE = "posert info MODEL shows the parameters"


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that belong together.

    Attributes:
        kind: a frozen dataclass with defaults for everything, which checks itself.
        values: of the file, over the defaults.
        called: in errors.
        stage: index of the stage that they are of; None = of none.
        rule: they are its suppression rule's, not its decoder's.
    """

    kind: Any
    values: Mapping[str, Any] = field(default_factory=dict)
    called: str = ""
    stage: int | None = None
    rule: bool = False

    def record(self, values: Mapping[str, Any]) -> Any:
        """The `kind` with `values` over the file's; raises PosertError for names and values that it does not take."""
        return params_of(self.kind, self.called, {**self.values, **values})

    def put(self, spec: ModelSpec, values: Mapping[str, Any]) -> ModelSpec:
        """`spec` with `values` over the file's."""
        if self.stage is None:
            return spec
        stages, values = list(spec.stages), {**self.values, **values}
        old = stages[self.stage]
        stages[self.stage] = replace(old, suppress_params=values) if self.rule else replace(old, params=values)
        return replace(spec, stages=tuple(stages))


def groups_of(spec: ModelSpec) -> dict[str, Group]:
    """Name -> group: each stage's own, `suppress` if there is a rule, `follow` if people are followed.

    If several stages have a rule, `suppress` is the last one's, and STAGE.suppress another's.
    """
    groups: dict[str, Group] = {}
    for index, stage in enumerate(spec.stages):
        called = f"decoder {stage.decoder!r}"
        groups[stage.name] = Group(decoder(stage.decoder).Params, stage.params, called, index)
    rules = [(index, stage, stage.suppress) for index, stage in enumerate(spec.stages) if stage.suppress is not None]
    for index, stage, rule in rules:
        name, called = SUPPRESS if index == rules[-1][0] else f"{stage.name}.{SUPPRESS}", f"suppression rule {rule!r}"
        groups[name] = Group(suppression_rule(rule).Params, stage.suppress_params, called, index, rule=True)
    if any(stage.region == "follow" for stage in spec.stages):
        groups[FOLLOW] = Group(FollowOptions, called=FOLLOW)
    return groups


def with_params(spec: ModelSpec, params: Mapping[str, Any]) -> tuple[ModelSpec, FollowOptions]:
    """`spec` with other parameters, and how it follows people.

    Args:
        params: GROUP.NAME -> value, see `groups_of`; a bare NAME is of the decoder of the last stage that finds people.

    Raises:
        PosertError: the model has no such parameter, or the parameter no such value.
    """
    groups, follow = groups_of(spec) if params else {}, FollowOptions()
    for group, values in by_group(params, body_stages(spec)[-1].name).items():
        if group not in groups:
            what = f"{spec.model} has no {group}.{next(iter(values))}; it has parameters of {', '.join(groups)}"
            raise PosertError(what, SEE)
        try:
            record = groups[group].record(values)
        except PosertError as error:
            raise PosertError(error.what, _meant(values, groups, group) or SEE) from None
        spec = groups[group].put(spec, values)
        follow = record if group == FOLLOW else follow
    return spec, follow


def _meant(names: Mapping[str, Any], groups: Mapping[str, Group], group: str) -> str:
    """Where the names stand that the group has not; empty if nowhere."""
    known = {name: {own.name for own in fields(one.kind)} for name, one in groups.items()}
    unknown = names.keys() - known[group]
    found = [f"{other}.{name}" for other in known for name in names if name in unknown & known[other]]
    return f"did you mean {', '.join(found)}?" if found else ""


def by_group(params: Mapping[str, Any], bare: str = "") -> dict[str, dict[str, Any]]:
    """Group -> name -> value; `bare` is the group of a name that has none.

    >>> by_group({"greedy": True, "detector.max_iou": 0.5}, "pose")
    {'pose': {'greedy': True}, 'detector': {'max_iou': 0.5}}
    """
    given: dict[str, dict[str, Any]] = {}
    for text, value in params.items():
        group, _, name = text.rpartition(".")
        given.setdefault(group or bare, {})[name] = value
    return given


def taken_from(params: Mapping[str, Any], **kinds: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters of other groups than `kinds`, and the records of these: each group's defaults, and what is given.

    Raises:
        PosertError: one of these groups has no such parameter, or the parameter no such value.
    """
    given = by_group({name: value for name, value in params.items() if name.rpartition(".")[0] in kinds})
    records = {group: params_of(kind, group, given.get(group, {})) for group, kind in kinds.items()}
    return {name: value for name, value in params.items() if name.rpartition(".")[0] not in kinds}, records


def listed(groups: Mapping[str, Group]) -> Iterator[tuple[str, str, str]]:
    """GROUP.NAME, the value in the file and the default of each, as they are given."""
    for name, group in groups.items():
        record, usual = group.record({}), group.kind()
        for own in fields(group.kind):
            value, default = (as_given(getattr(one, own.name)) for one in (record, usual))
            yield f"{name}.{own.name}", value, default


def as_given(value: Any) -> str:
    """A value as whoever types it writes it.

    >>> as_given("quarter"), as_given(True), as_given((1, 2)), as_given(None)
    ('quarter', 'true', '[1, 2]', 'null')
    """
    return value if isinstance(value, str) else json.dumps(value)
