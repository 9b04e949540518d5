"""Key frames alone, read by PyAV: the pixels of OpenCV's reader, at their places in the whole video."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import people
import pytest
from test_reading import COUNT, drawn, same

from posert.errors import PosertError
from posert.runtime.files.atomic import Provenance
from posert.runtime.files.formats import sink_of
from posert.runtime.files.partition import clip_rows, spooled
from posert.runtime.jobs.recipe import Recipe, Selection, Settings
from posert.runtime.media.read import frames

av = pytest.importorskip("av")


@pytest.mark.parametrize("name", ["b_frames", "open_groups", "uneven_times", "vp9", "one_group", "key_frames_alone"])
def test_key_frames_are_those_of_the_whole_video(tmp_path: Path, name: str) -> None:
    path = drawn(tmp_path, name)
    with av.open(str(path)) as container:
        places = [place for place, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert len(places) == COUNT if name == "key_frames_alone" else 0 < len(places) < COUNT
    keys = list(frames(path, key_frames=True))
    assert same(keys, [frame for frame in frames(path) if frame.index in places])
    late = [frame for frame in keys if frame.time_s >= 1.0]
    assert same(list(frames(path, key_frames=True, start_s=1.0, stride=2)), late[::2])
    turned = {"rotate": 90, "mirror": True, "stop_s": 4.0}
    assert same(
        list(frames(path, key_frames=True, **turned)), [one for one in frames(path, **turned) if one.index in places]
    )


@pytest.mark.parametrize("name", ["a_stream", "without_times"])
def test_files_whose_packets_may_be_no_pictures_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PosertError, match="cannot be read alone: it is no MP4"):
        list(frames(drawn(tmp_path, name), key_frames=True))


@pytest.mark.parametrize("source", ["-", "0", "rtsp://127.0.0.1:9/walk"])
def test_what_is_no_file_is_refused(source: str) -> None:
    with pytest.raises(PosertError, match="cannot be read alone"):
        list(frames(source, key_frames=True, size_wh=(4, 4)))


def test_hardware_does_not_go_with_it() -> None:
    with pytest.raises(PosertError, match="decoded by the processor"):
        list(frames("walk.mp4", key_frames=True, hwaccel="any"))


def test_pictures_that_the_file_turns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "phone.mp4"
    with av.open(str(drawn(tmp_path, "b_frames"))) as given, av.open(str(path), "w") as taken:
        stream = taken.add_stream_from_template(given.streams.video[0])
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot write a rotation")
        stream.set_display_rotation(90)
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                taken.mux(packet)
    assert next(frames(path)).size_wh == (64, 96)
    with pytest.raises(PosertError, match="are to be turned"):
        list(frames(path, key_frames=True))


@pytest.mark.parametrize("harm", ["cut", "zeros"])
def test_what_is_missing_is_said(tmp_path: Path, harm: str) -> None:
    path = drawn(tmp_path, "b_frames" if harm == "zeros" else "refreshed_bit_by_bit")
    data = bytearray(path.read_bytes())
    if harm == "cut":
        data = data[:-900]
    else:
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.is_keyframe and packet.size]
            begin, size = packets[4].pos, packets[4].size
        data[begin : begin + size] = bytes(size)
    path.write_bytes(data)
    with pytest.raises(PosertError, match="is cut off" if harm == "cut" else "is damaged"):
        list(frames(path, key_frames=True))


def test_the_manifest_says_so() -> None:
    records: list[Any] = [
        Recipe("nano", Settings(selection=Selection(key_frames=yes))).record() for yes in (False, True)
    ]
    assert [record["selection"]["key_frames"] for record in records] == [False, True]


@pytest.mark.parametrize("form", ["jsonl", "json", "npz", "parquet"])
def test_results_say_so_and_others_do_not(tmp_path: Path, form: str) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    found = []
    for yes in (True, False):
        path = tmp_path / f"{yes}.{form}"
        with sink_of(form, provenance=Provenance(key_frames=yes))(path, people.SPEC, "walk.mp4") as put:
            put(*people.result(people.standing(), 0))
        found.append(header(path, form))
    assert found[0] == found[1] | {"key_frames": True}


def test_rows_of_a_dataset_say_so() -> None:
    ipc = pytest.importorskip("pyarrow.ipc")
    with spooled() as spool, clip_rows(spool, people.SPEC, Provenance(key_frames=True)) as put:
        put(*people.result(people.standing((100, 200)), 0))
    assert json.loads(ipc.open_stream(spool.taken()).schema.metadata[b"posert"])["key_frames"] is True


def header(path: Path, form: str) -> dict[str, Any]:
    if form == "npz":
        with np.load(path) as arrays:
            return json.loads(str(arrays["header"]))
    if form == "parquet":
        from pyarrow import parquet

        return json.loads(parquet.read_schema(path).metadata[b"posert"])
    text = path.read_text(encoding="utf-8")
    document = json.loads(text.split("\n")[0] if form == "jsonl" else text)
    return {name: value for name, value in document.items() if name != "frames"}


def test_a_run_writes_it_into_its_results(tmp_path: Path, run: Any) -> None:
    video = drawn(tmp_path, "b_frames")
    assert run("infer", "nano", video, "--key-frames", "-o", tmp_path / "keys.jsonl")[0] == 0
    assert run("infer", "nano", video, "-o", tmp_path / "all.jsonl")[0] == 0
    assert header(tmp_path / "keys.jsonl", "jsonl") == header(tmp_path / "all.jsonl", "jsonl") | {"key_frames": True}
