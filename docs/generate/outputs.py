"""One true example of every output format, made/formats.md, of two frames of the drawn clip."""

import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from posert.export.nano import clip
from posert.runtime.files.formats import FORMATS

FRAMES = (96, 97)
COMMAND = "posert infer nano clip.mp4 -o out/ --track --features --person-height 1.75"
LENGTH = 900  # characters quoted of a text
PLACES = {
    "jsonl": "clip.mp4.jsonl", "json": "clip.mp4.json", "npz": "clip.mp4.npz", "parquet": "clip.mp4.parquet",
    "csv": "clip.mp4.csv", "trc": "clip_trc/clip_m_person01.trc",
    "openpose": "clip_json/clip_000000000000_keypoints.json",
    "alphapose": "clip.mp4.alphapose-results.json", "alphapose-cmu": "clip.mp4.alphapose-cmu/sep-json/0.json",
    "alphapose-open": "clip.mp4.alphapose-open/sep-json/0.json", "openpifpaf": "clip.mp4.openpifpaf.json",
    "coco": "clip.mp4.coco.json", "coco-dataset": "clip.mp4.coco-dataset/annotations/person_keypoints_default.json",
    "heatmaps": "clip.mp4.heatmaps.npz", "pafs": "clip.mp4.pafs.npz", "candidates": "clip.mp4.candidates.npz",
}  # fmt: skip


def write(folder: Path) -> None:
    """Writes made/formats.md; a format without an example here, or the other way round, ends the build."""
    if PLACES.keys() != FORMATS.keys():
        raise ValueError(f"formats without an example, or unknown: {PLACES.keys() ^ FORMATS.keys()}")
    text = "# Formats, an example of each\n\nMade with the site: two frames of the drawn clip, by\n\n"
    text += f"```text\n{COMMAND} --format ...\n```\n\n"
    text += "and quoted from where the files are long. What each is for: [formats](../formats.md).\n"
    with tempfile.TemporaryDirectory() as room:
        out = _run(Path(room))
        for form, place in PLACES.items():
            quote = _quote(out / place)
            text += f"\n## {form}\n\n`--format {form}` wrote `out/{place}`:\n\n```text\n{quote}\n```\n"
    (folder / "formats.md").write_text(text, encoding="utf-8")


def _run(room: Path) -> Path:
    drawn = cv2.VideoWriter(
        str(room / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), clip.FPS, (clip.WIDTH, clip.HEIGHT)
    )
    for index in FRAMES:
        drawn.write(clip.render(index)[0])
    drawn.release()
    forms = [word for form in PLACES for word in ("--format", form)]
    words = [sys.executable, "-m", "posert.cli", *COMMAND.split()[1:], "--quiet", *forms]
    subprocess.run(words, cwd=room, check=True)
    return room / "out"


def _quote(path: Path) -> str:
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return "\n".join(_array(name, arrays[name]) for name in arrays.files)
    if path.suffix == ".parquet":
        return _table(path)
    text = path.read_text(encoding="utf-8")
    lines = [line if len(line) <= LENGTH else line[:LENGTH] + " ..." for line in text.splitlines()]
    short, room = [], LENGTH
    for line in lines:
        room -= len(line)
        short.append(line)
        if room < 0:
            break
    return "\n".join(short) + ("\n..." if len(short) < len(lines) else "")


def _array(name: str, array: np.ndarray) -> str:
    first = array.ravel()[:4]
    values = ", ".join(f"{value:.4g}" if array.dtype.kind == "f" else str(value) for value in first)
    return f"{name:16} {array.dtype!s:8} {list(array.shape)!s:20} {values}{', ...' if array.size > 4 else ''}"


def _table(path: Path) -> str:
    from pyarrow import parquet

    table = parquet.read_table(path)
    first = table.slice(0, 1).to_pylist()[0]
    rows = [f"{field.name:28} {field.type!s:8} {first[field.name]}" for field in table.schema]
    return "\n".join([f"{table.num_rows} rows, {len(rows)} columns; the first row:", *rows[:16], "..."])
