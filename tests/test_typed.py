"""Parameters of every kind come through one typed reader, which names the parameter, what it wants and what it got."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny
from command import Run

from posert import estimate_image, open_model
from posert.errors import PosertError
from posert.postprocess import decoder_params, suppression_params
from posert.runtime.options import ModelOptions


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    return path


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("max_peaks=64.5", "max_peaks = 64.5, expected a whole number from 1 to 512"),
        ("refine=maybe", "refine = 'maybe', expected true or false"),
        ("refine=1", "refine = 1, expected true or false"),
        ("peak_radius=1.9", "peak_radius = 1.9, expected a whole number from 1 to 32"),
        ("peak-threshold=NaN", "peak_threshold = nan, expected a finite number at least 0"),
        ("min_score=Infinity", "min_score = inf, expected a finite number"),
        ("min_score=1" + "0" * 400, "expected a finite number"),
        ("min_parts=1" + "0" * 400, "expected a whole number at least 1"),
        ("interpolation=nearest", "interpolation = 'nearest', expected area | cubic"),
        ("interpolation=[1]", "interpolation = [1], expected area | cubic"),
        ("smooth_taps=24", "smooth_taps = 24, expected an odd number"),
        ("limb_least=11", "limb_least = 11, expected at most the 10 of limb_samples"),
        ("paf_channels=[[0,1],[2]]", "paf_channels[1] = [2], expected 2 values"),
        ("paf_channels=[[0,-1]]", "paf_channels[0][1] = -1, expected a whole number at least 0"),
        ("max_peaks=null", "max_peaks = None, expected a whole number from 1 to 512"),
    ],
)
def test_set_says_which_what_and_why(run: Run, photo: Path, given: str, message: str) -> None:
    code, _, err = run("infer", "nano", photo, "--set", given)
    assert code == 1
    assert "decoder 'paf' cannot use" in err
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("rule", "values", "message"),
    [
        ("poses", {"delta1": 0}, "delta1 = 0, expected a finite number above 0"),
        ("poses", {"whole_body": "yes"}, "whole_body = 'yes', expected true or false"),
        ("poses", {"gamma": float("inf")}, "gamma = inf, expected a finite number"),
        ("poses", {"max_people": 0}, "max_people = 0, expected a whole number at least 1"),
    ],
)
def test_suppression_parameters_too(rule: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(PosertError) as caught:
        suppression_params(rule, values)
    assert f"suppression rule 'poses' cannot use {message}" in caught.value.what


def test_numbers_of_numpy_and_whole_numbers_for_floats_do() -> None:
    params = decoder_params("paf", {"max_peaks": np.int64(9), "min_score": 1, "peak_threshold": np.float32(0.5)})
    assert (params.max_peaks, params.min_score, params.peak_threshold) == (9, 1.0, 0.5)
    assert type(params.min_score) is float


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"threads": -1}, "threads = -1, expected a whole number at least 0"),
        ({"threads": 1.5}, "threads = 1.5, expected a whole number"),
        ({"workers": 0}, "workers = 0, expected a whole number at least 1"),
        ({"long_edge": -3}, "long_edge = -3"),
        ({"scale_gap": float("nan")}, "scale_gap = nan, expected a finite number"),
        ({"device": None}, "device = None, expected text"),
        ({"params": [1]}, "params = [1], expected an object"),
    ],
)
def test_how_a_model_is_opened_is_read_the_same_way(given: dict[str, Any], message: str) -> None:
    with pytest.raises(PosertError) as caught:
        open_model("nano", **given)
    assert message in caught.value.what


def test_options_keep_paths_and_texts() -> None:
    assert ModelOptions(detector=Path("a.onnx")).detector == Path("a.onnx")
    assert ModelOptions(detector="a.onnx").detector == "a.onnx"


def test_a_closed_model_says_so(model: Path) -> None:
    with open_model(model, device="cpu") as opened:
        pass
    with pytest.raises(PosertError, match="the model is closed"):
        estimate_image(opened, np.zeros((64, 64, 3), np.uint8))


def test_escapes_of_a_model_are_shown(run: Run, tmp_path: Path, photo: Path) -> None:
    evil = "a\x1b]0;owned\x07\x1b[2J\u202eb\nlicence   MIT"
    spec = replace(tiny.SPEC, system=evil, model=evil, licence=evil)
    stage = replace(tiny.STAGE, name=evil)
    path = tiny.bright_spot(tmp_path / "m.onnx", spec=replace(spec, stages=(stage,)))
    code, out, err = run("info", path)
    assert code == 0
    assert "\\x1b]0;owned\\x07\\x1b[2J\\u202eb" in out
    code, _, err_too = run("infer", path, photo, "--long-edge", 32)
    assert code == 1
    assert "\\x1b]0;owned" in err_too
    assert not {"\x1b", "\x07", "\u202e"} & set(out + err + err_too)
    assert len([line for line in out.splitlines() if line.startswith("licence")]) == 1
