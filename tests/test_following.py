"""A network for one person behind a detector: everybody is followed, and the detector says who is new."""

import shutil
from dataclasses import replace
from pathlib import Path

import naive_following as naive
import numpy as np
import pytest
import tiny
import tiny_follow
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tiny_follow import scene

from posert.errors import PosertError
from posert.poses import Frame, Poses, Result
from posert.postprocess.following import followed, joined, next_regions, next_window
from posert.postprocess.suppression import oks
from posert.runtime.look import regions
from posert.runtime.loop import TopDown, estimate, estimate_image
from posert.runtime.session import Model, open_model
from posert.runtime.spec import from_json, to_json

NEAR_PX = 3


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_follow.pair(tmp_path_factory.mktemp("pair"))


def run(path: Path, frames: list[Frame], every: int = 1, **how: object) -> list[Result]:
    with open_model(path, device="cpu", threads=1) as model:
        return list(estimate(model, frames, top_down=TopDown(detect_every=every), **how))  # type: ignore[arg-type]


def places(result: Result) -> list[tuple[float, float]]:
    """The middle of each person, from left to right."""
    return sorted(tuple(person[:, :2].mean(0)) for person in result.poses.keypoints)


def assert_at(result: Result, *squares: tuple[float, float]) -> None:
    assert np.array(places(result)).ravel() == pytest.approx(np.array(sorted(squares)).ravel(), abs=NEAR_PX)


def looked(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stage of every network call from now on, the pose once for each crop."""
    calls: list[str] = []
    run = model.run
    monkeypatch.setattr(
        model, "run", lambda stage, tensor: (calls.extend([stage] * len(tensor)), run(stage, tensor))[1]
    )
    return calls


@pytest.mark.parametrize("every", [1, 4, 100])
def test_two_people_who_walk(pair: Path, every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    walks = [((20 + 2 * i, 40), (108 - i, 70)) for i in range(12)]
    with open_model(pair, device="cpu", threads=1, workers=2) as model:
        calls = looked(model, monkeypatch)
        frames = [scene(*squares, index=i) for i, squares in enumerate(walks)]
        results = list(estimate(model, frames, batch=4, top_down=TopDown(detect_every=every)))
    for squares, result in zip(walks, results, strict=True):
        assert_at(result, *squares)
    assert calls.count("detector") == -(-12 // every)
    assert 24 <= calls.count("pose") <= 26  # whose boxes are known is not looked at twice


def test_scores_are_those_of_the_detector_times_the_keypoints(pair: Path) -> None:
    """In between too: they do not change with the frames that the detector sees."""
    results = run(pair, [scene((40, 44), index=i) for i in range(9)], every=4)
    scores = [float(result.poses.scores[0]) for result in results]
    boxes = run(pair, [scene((40, 44))], boxes=lambda _: np.array([[28, 32, 52, 56, 0.5]], np.float32))[0]
    assert scores[1:4] + scores[5:8] == pytest.approx(scores[1:2] * 6, rel=0.02)
    assert boxes.poses.scores[0] == pytest.approx(0.5 * boxes.poses.keypoints[0, :, 2].mean())


def test_who_comes_is_found_with_the_next_detection_and_who_leaves_is_let_go(pair: Path) -> None:
    here, there = (30, 40), (96, 56)
    shown = [(here,), (here,), (here, there), (here, there), (here, there), (there,), (there,), ()]
    results = run(pair, [scene(*squares, index=i) for i, squares in enumerate(shown)], every=4)
    assert [len(result.poses) for result in results] == [1, 1, 1, 1, 2, 1, 1, 0]
    assert_at(results[4], here, there)
    assert_at(results[6], there)


def test_a_cut(pair: Path) -> None:
    before, after = ((24, 30), (100, 30)), ((60, 70),)
    frames = [scene(*(before if i < 6 else after), index=i) for i in range(12)]
    found = [places(result) for result in run(pair, frames, every=4)]
    assert [len(each) for each in found] == [2] * 6 + [1] * 6
    assert found[6][0] == pytest.approx(after[0], abs=NEAR_PX)


@pytest.mark.parametrize("every", [1, 3])
def test_two_people_who_cross(pair: Path, every: int) -> None:
    """Behind each other they are one, for a while; then they are two again, and nobody else."""
    walks = [((20 + 2 * i, 40), (108 - 2 * i, 46)) for i in range(45)]
    results = run(pair, [scene(*squares, index=i) for i, squares in enumerate(walks)], every)
    assert len(results[22].poses) <= 2
    assert max(len(result.poses) for result in results) <= 3
    for i in (*range(16), *range(40, 45)):
        assert_at(results[i], *walks[i])


def test_several_boxes_around_one_person_are_one_person(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = np.array([[28, 32, 52, 56, 0.9], [26, 30, 50, 54, 0.8], [30, 36, 54, 58, 0.7]], np.float32)
    with open_model(pair, device="cpu", threads=1) as model:
        calls = looked(model, monkeypatch)
        (result,) = estimate(model, [scene((40, 44))], boxes=lambda _: boxes)
    assert calls == ["pose"] * 3
    assert result.poses.boxes_xyxy.tolist() == [boxes[0, :4].tolist()]


def test_given_boxes_say_where_to_look_in_every_frame(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [scene((40, 44), (100, 44), index=i) for i in range(3)]
    with open_model(pair, device="cpu", threads=1) as model:
        calls = looked(model, monkeypatch)
        given = estimate(
            model,
            frames,
            boxes=lambda frame: np.array([[28, 32, 52, 56]] * (frame.index > 0), np.float32).reshape(-1, 4),
        )
        assert [len(result.poses) for result in given] == [0, 1, 1]
    assert calls == ["pose"] * 2


def test_sources_that_take_turns_are_told_apart(pair: Path) -> None:
    one = [scene((20 + 2 * i, 30), index=i, source="one") for i in range(8)]
    other = [scene((100 - 2 * i, 60), (40, 70), index=i, source="other") for i in range(8)]
    alone = {frames[0].source: run(pair, frames, every=5) for frames in (one, other)}
    together = run(pair, [frame for both in zip(one, other, strict=True) for frame in both], every=5)
    for result in together:
        expected = alone[result.source][result.frame_index].poses
        assert result.poses.keypoints.tobytes() == expected.keypoints.tobytes()
        assert result.poses.scores.tobytes() == expected.scores.tobytes()


def test_many_sources_are_forgotten(pair: Path) -> None:
    """A folder of pictures is many sources, and none of them comes again."""
    pictures = [scene((40, 44), index=0, source=f"{i}.jpg") for i in range(70)]
    with open_model(pair, device="cpu", threads=1) as model:
        alone = estimate_image(model, pictures[0])
    results = run(pair, [*pictures, replace(pictures[0], index=1)], every=5)
    assert {result.poses.keypoints.tobytes() for result in results} == {alone.poses.keypoints.tobytes()}


def test_a_live_source(pair: Path) -> None:
    frames = [scene((20 + i, 40), index=i) for i in range(20)]
    results = run(pair, frames, every=4, live=True)
    assert results[-1].frame_index == 19
    for result in results:
        assert_at(result, (20 + result.frame_index, 40))


def test_a_detector_makes_a_pair_of_a_network_for_one_person(pair: Path, tmp_path: Path) -> None:
    frames = [scene((30, 40), (100, 60), index=i) for i in range(3)]
    alone = tiny_follow.pose(tmp_path / "alone.onnx")
    with open_model(alone, detector=pair.with_name("detector.onnx"), device="cpu") as model:
        stage = model.spec.stages[1]
        assert (stage.region, stage.suppress, stage.input.margin) == ("follow", "oks", 1.1)
        assert [len(r.poses) for r in estimate(model, frames, top_down=TopDown(detect_every=9))] == [2, 2, 2]
    with open_model(pair, detector=pair.with_name("detector.onnx"), device="cpu") as model:
        assert model.spec.stages[1] == tiny_follow.EVERYBODY
    assert [len(result.poses) for result in run(alone, frames)] == [1, 1, 1]


def test_a_recipe_may_name_the_detector_too(pair: Path, tmp_path: Path) -> None:
    """`posert tag --guess` writes down what a pair is; tagged with it, a network is the same again."""
    pytest.importorskip("onnx")
    from posert.export.convert import guess, tag

    (tmp_path / "recipe.toml").write_text(guess(pair))
    shutil.copy(pair.with_name("detector.onnx"), tmp_path)
    again = tag(tiny_follow.pose(tmp_path / "alone.onnx"), out=tmp_path, recipe=tmp_path / "recipe.toml")
    with open_model(pair, device="cpu") as first, open_model(again, device="cpu") as second:
        assert first.spec.stages == second.spec.stages


def test_one_person_alone_has_no_detector_to_leave_out(tmp_path: Path) -> None:
    with pytest.raises(PosertError, match="has no detector to leave out"):
        run(tiny_follow.pose(tmp_path / "alone.onnx"), [scene()], every=2)


@pytest.mark.parametrize("stages", ["F", "FF", "dFF", "dbF"])
def test_where_people_may_be_followed(pair: Path, stages: str) -> None:
    with open_model(pair, device="cpu") as model:
        spec, detector = model.spec, model.spec.stages[0]
    kinds = {"d": detector, "F": tiny_follow.EVERYBODY, "b": replace(tiny_follow.EVERYBODY, region="boxes")}
    named = tuple(replace(kinds[kind], name=str(i)) for i, kind in enumerate(stages))
    with pytest.raises(PosertError, match=r"suppress = 'oks'|region = 'follow'"):
        from_json(to_json(replace(spec, stages=named)))


def test_movenet_thunder_finds_everybody_on_photos(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar of MoveNet's official weights behind YOLOX-nano: AP .56 without annotated boxes; by name."""
    pytest.importorskip("pycocotools")
    pytest.importorskip("onnx")
    from posert.export.named import model_file
    from posert.measure.evaluate import evaluate

    mirror, photos = tmp_path / "mirror", assets / "media" / "coco100"
    mirror.mkdir()
    for file in ("movenet_tfjs/movenet-thunder.json", "movenet_tfjs/movenet-thunder.bin", "yolox_nano.onnx"):
        shutil.copy(assets / "models" / file, mirror)
    monkeypatch.setenv("POSERT_MIRROR", str(mirror))
    monkeypatch.setenv("POSERT_HOME", str(tmp_path / "home"))
    with open_model(model_file("movenet-thunder-people"), device="cpu", threads=2) as model:
        assert [stage.region for stage in model.spec.stages] == ["frame", "follow"]
        score = evaluate(model, photos / "person_keypoints_coco100.json", photos / "images")
    assert score.ap >= 0.57


def made(rng: np.random.Generator, count: int, keypoints: int = 17) -> Poses:
    """People of any size, some of them nowhere or without an area."""
    at = rng.uniform(-50, 200, (count, 1, 2)) + rng.normal(0, rng.choice([0, 5, 60]), (count, keypoints, 2))
    points = np.concatenate([at, rng.choice([0, 0.1, 0.3, 0.9], (count, keypoints, 1))], axis=2).astype(np.float32)
    corners = rng.uniform(-20, 150, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 90, (count, 2))], axis=1).astype(np.float32)
    return Poses(points, rng.uniform(0, 1, count).astype(np.float32), boxes)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 8))
def test_regions_and_windows_of_the_next_frame(seed: int, count: int) -> None:
    """Those of `next_regions` and of `next_window`, person by person."""
    people = made(np.random.default_rng(seed), count)
    found, windows = followed(people, (160, 120), tiny.SPEC.skeleton)
    row = 0
    for i in range(count):
        one = Poses(people.keypoints[i : i + 1], people.scores[i : i + 1], people.boxes_xyxy[i : i + 1])
        region = next_regions(one, (160, 120)).boxes_xyxy
        if not len(region):
            continue
        mean = float(people.keypoints[i, :, 2].mean())
        share = min(1, people.scores[i] / mean) if mean else 0
        assume(abs(share - 0.1) > 1e-4)
        if share < 0.1:
            continue
        window = next_window(one, (160, 120), tiny.SPEC.skeleton)
        assert found.boxes_xyxy[row].tolist() == region[0].tolist()
        assert np.isnan(windows[row]).all() if window is None else windows[row].tolist() == window.tolist()
        assert found.scores[row] == pytest.approx(share, rel=1e-5)
        row += 1
    assert row == len(found) == len(windows)


def test_whom_the_detector_misses_is_let_go() -> None:
    people = made(np.random.default_rng(0), 1)
    people.keypoints[..., :2], people.keypoints[..., 2] = np.linspace(20, 60, 34).reshape(17, 2), 0.5
    known, looks = regions(np.array([[20, 20, 60, 60, 0.9]], np.float32)), 0
    while len(known):
        known, _ = joined(known, regions(np.zeros((0, 4))), 0.3)
        known, _ = followed(replace(people, scores=known.scores * np.float32(0.5)), (160, 120), tiny.SPEC.skeleton)
        looks += 1
    assert looks == 4


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(0, 6), st.sampled_from([0.0, 0.3, 0.7]))
def test_whose_boxes_are_found(seed: int, known: int, found: int, max_iou: float) -> None:
    rng = np.random.default_rng(seed)
    old, new = made(rng, known), made(rng, found)
    ours, again = joined(old, new, max_iou)
    boxes, scores, taken = naive.joined(old, new, max_iou)
    assert ours.boxes_xyxy.tolist() == boxes
    assert ours.scores.tolist() == scores
    assert again.tolist() == taken


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.floats(0, 1), st.booleans())
def test_doubles_by_keypoints(seed: int, count: int, max_oks: float, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    people = made(rng, count, 5)
    twins = replace(people, keypoints=people.keypoints + rng.choice([0, 0.5, 3], (count, 1, 1)).astype(np.float32))
    both = Poses(
        *(np.concatenate([getattr(p, n) for p in (people, twins)]) for n in ("keypoints", "scores", "boxes_xyxy"))
    )
    if ties:
        both.scores[:] = 1
    found = oks.suppress(both, both, oks.Params(max_oks=max_oks))
    rows, scores = naive.oks(both.keypoints, both.boxes_xyxy, both.scores, max_oks, oks.Params().sigma)
    assert found.keypoints.tolist() == both.keypoints[rows].tolist()
    assert found.boxes_xyxy.tolist() == both.boxes_xyxy[rows].tolist()
    assert found.scores == pytest.approx(scores, rel=1e-5)


def test_each_pose_needs_a_region() -> None:
    people = made(np.random.default_rng(0), 3)
    with pytest.raises(ValueError, match="3 poses, 2 regions: each pose needs a region of its own"):
        oks.suppress(people, regions(people.boxes_xyxy[:2]), oks.Params())
    assert len(oks.suppress(people, people, oks.Params(max_people=1, max_oks=1))) == 1
