"""A card for each row of models.lock, made/models/NAME.md, and their index.

Claims are the row's; what was measured here stands in docs/models.toml, with the commands that gave it.
"""

import tomllib
from pathlib import Path
from typing import Any

from posert.export.weights import Entry, entries, recipe
from posert.skeletons import named_skeletons

FIGURES = tomllib.loads((Path(__file__).parents[1] / "models.toml").read_text(encoding="utf-8"))
ROUTES = {
    "embedded": "in the package", "onnx": "ready-made ONNX, which needs its metadata alone (`posert[convert]`)",
    "tfjs": "TensorFlow.js, made without TensorFlow (`posert[convert]`)",
    "caffe": "Caffe, made without Caffe (`posert[convert]`)",
    "tflite": "TFLite (`posert[export-tf]`)", "saved_model": "TensorFlow SavedModel (`posert[export-tf]`)",
    "frozen_graph": "TensorFlow's frozen graph (`posert[export-tf]`)",
    "state_dict": "PyTorch state dict (`posert[export-torch]`)",
    "checkpoint": "PyTorch checkpoint (`posert[export-torch]`)", "darknet": "Darknet (`posert[export-torch]`)",
    "own": "a file of your own",
}  # fmt: skip


def write(folder: Path) -> None:
    """Writes made/models.md and a page for each model."""
    cards = folder / "models"
    cards.mkdir(exist_ok=True)
    rows = [entry for name, entry in entries().items() if name != "recipes"]
    for entry in rows:
        (cards / f"{entry.name}.md").write_text(_card(entry), encoding="utf-8")
    (folder / "models.md").write_text(_index(rows), encoding="utf-8")


def _index(rows: list[Entry]) -> str:
    text = "# Model cards\n\nEvery name that `posert` takes, as `models.lock` has them. AP measured: on 100 photos of "
    text += "COCO, here; claimed: by its authors, on data and boxes of their own, so that no two claims compare.\n\n"
    text += "| model | finds | AP measured | AP claimed | frames/s | licence |\n|---|---|---|---|---|---|\n"
    for entry in rows:
        own = FIGURES["measured"].get(entry.name, {})
        ap = " / ".join(part for part in (_ap(own, "ap"), _ap(own, "ap_boxes", " on boxes")) if part) or "not measured"
        claimed = f"{entry.ap / 100:.3f}".lstrip("0") if entry.ap else ""
        speed = f"{own['frames_per_s']:.0f}" if "frames_per_s" in own else ""
        cells = [f"[{entry.name}](models/{entry.name}.md)", entry.finds, ap, claimed, speed, entry.licence]
        text += f"| {' | '.join(cells)} |\n"
    text += "\n```{toctree}\n:hidden:\n:glob:\n\nmodels/*\n```\n"
    return text


def _ap(own: dict[str, Any], key: str, after: str = "") -> str:
    return f"{own[key]:.3f}".lstrip("0") + after if key in own else ""


def _card(entry: Entry) -> str:
    own = FIGURES["measured"].get(entry.name, {})
    facts = {
        "finds": entry.finds,
        "input": _input(entry),
        "keypoints": _keypoints(entry),
        "licence of the weights": entry.licence + (", **not for commercial use**" if entry.non_commercial else ""),
        "from": entry.source,
        "becomes a model": ROUTES[entry.route],
        "checked by": _pin(entry),
        "boxes come from": _detector(entry),
        "accuracy, claimed": f"AP {entry.ap} % on {entry.ap_on}, by its authors"
        if entry.ap
        else "no claim known to us",
        "accuracy, measured": _accuracy(own),
        "speed, measured": _speed(entry, own),
    }
    rows = "".join(f"| {name} | {value} |\n" for name, value in facts.items() if value)
    return f"# {entry.name}\n\n| | |\n|---|---|\n{rows}\n{_use(entry)}"


def _input(entry: Entry) -> str:
    if entry.recipe:
        data = recipe(entry)
        width, height = data["stage"]["input"].get("size_wh", entry.size_wh)
        where = "around each person" if data["stage"]["region"] == "boxes" else "whole frame"
        return f"{where}, {width} x {height} px"
    return _of_family("input", entry) or "`posert info` of the file says it"


def _of_family(table: str, entry: Entry) -> str:
    """What docs/models.toml says of the longest beginning of a name."""
    known = [name for name in FIGURES[table] if entry.name.startswith(name)]
    return str(FIGURES[table][max(known, key=len)]) if known else ""


def _keypoints(entry: Entry) -> str:
    skeleton = recipe(entry).get("skeleton", "") if entry.recipe else _of_family("skeleton", entry)
    if skeleton in ("", "none") or entry.route == "own":
        return ""
    names = named_skeletons()[skeleton].names
    return f"`{skeleton}`: {', '.join(names[:26])}" + (f" and {len(names) - 26} more" if len(names) > 26 else "")


def _pin(entry: Entry) -> str:
    for name, what in (("sha256", "sha256"), ("git_blob", "git's SHA-1"), ("md5", "MD5, as its authors publish it")):
        if getattr(entry, name):
            return f"{what} `{getattr(entry, name)}`"
    return (
        ""
        if entry.route in ("embedded", "own")
        else "nothing: no whole hash of it is published, so it takes `--accept-unpinned`"
    )


def _detector(entry: Entry) -> str:
    return f"[{entry.detector}]({entry.detector}.md)" if entry.detector in entries() else ""


def _accuracy(own: dict[str, Any]) -> str:
    said = []
    for key, where in (("ap", ""), ("ap_boxes", " on annotated boxes")):
        if key in own:
            said.append(f"AP {_ap(own, key)}{where}, 100 COCO photos (`{FIGURES['machine'][key]}`)")
    return "; ".join([*said, *([own["also"]] if "also" in own else [])]) or "not measured"


def _speed(entry: Entry, own: dict[str, Any]) -> str:
    if "frames_per_s" not in own:
        return "not measured"
    machine = FIGURES["machine"]
    command = machine["speed"].replace("MODEL", own.get("command", entry.name))
    how = f"`{machine['clip']}`, `{command}`; {machine['what']}"
    return f"{own['frames_per_s']:.0f} frames/s of the drawn clip, 640 x 360 ({how})"


def _use(entry: Entry) -> str:
    accept = "" if entry.permissive else " --accept-licence"
    if entry.by_name:
        return f"```text\nposert infer {entry.name} walk.mp4 -o walk.jsonl{accept}\n```\n"
    if entry.route == "onnx":
        return f"```text\nposert tag FILE.onnx --as {entry.name}\n```\n"
    return (
        f"```text\nposert export {entry.name} --from FILE\nposert infer {entry.name}.onnx walk.mp4 -o walk.jsonl\n```\n"
    )
