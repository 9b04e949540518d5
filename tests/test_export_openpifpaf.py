"""OpenPifPaf's networks: the original's answers at any size, its skeletons, and files that are not what they claim.

The networks come from the openpifpaf package's own factory, with random weights, saved as its trainer saves them.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pifpaf_files import NAMES, checkpoint

from posert.errors import PosertError
from posert.export.weights import Entry
from posert.runtime.files.state import sha256_of
from posert.runtime.session import open_model

pytestmark = pytest.mark.export

ENTRY = Entry("openpifpaf-test", "openpifpaf", "checkpoint", "AGPL-3.0", source="this test")
BASES = ["shufflenetv2k16", "mobilenetv3small", "mobilenetv3large", "mobilenetv2", "resnet50"]  # all but two large ones


@pytest.fixture(scope="module")
def network() -> Any:
    pytest.importorskip("torch")
    from posert.export.systems.openpifpaf import import_network

    try:
        network = import_network()
    except PosertError as error:
        pytest.skip(str(error))
    for name in ("MobileNetV2", "MobileNetV3", "Resnet", "ShuffleNetV2"):
        getattr(network.basenetworks, name).pretrained = False  # or the factory fetches ImageNet's weights
    return network


def exported(path: Path, folder: Path) -> Path:
    from posert.export import onnx_file
    from posert.export.systems import openpifpaf

    target = folder / "openpifpaf.onnx"
    onnx_file.save(openpifpaf.build(ENTRY, path, frozenset()), target)
    return target


@pytest.mark.parametrize("base", BASES)
def test_the_originals_fields_at_any_size(
    network: Any, tmp_path: Path, base: str, caplog: pytest.LogCaptureFixture
) -> None:
    """OpenPifPaf's own test of its exporter: relative 1e-3, absolute 1e-5 of the largest value."""
    from posert.export.systems.openpifpaf import reference

    path = checkpoint(network, base, tmp_path)
    original = reference(ENTRY, path)
    assert original is not None
    rng = np.random.default_rng(0)
    with open_model(exported(path, tmp_path), device="cpu", threads=1) as model:
        unit = model.spec.stages[0].input.multiple_of
        assert unit == (32 if base == "mobilenetv2" else 16)
        for batch, height, width in [(1, 4 * unit + 1, 3 * unit + 1), (1, 193, 257), (3, 2 * unit + 1, 7 * unit + 1)]:
            tensor = rng.normal(0, 1, (batch, 3, height, width)).astype(np.float32)
            ours, theirs = model.run("pose", tensor), original(tensor)
            for role in ("cif", "caf"):
                assert ours[role].shape == theirs[role].shape
                assert np.abs(ours[role] - theirs[role]).max() < 1e-4 * np.abs(theirs[role]).max()
                assert ours[role].shape[3:] == (2 * (height - 1) // unit + 1, 2 * (width - 1) // unit + 1)
    assert "runs code" not in caplog.text


def test_the_whole_way_from_file_to_poses(network: Any, tmp_path: Path) -> None:
    """`posert export openpifpaf --from FILE --accept-unpinned`, then the comparison on a picture, then the loop."""
    from posert.export import convert
    from posert.runtime.loop import estimate
    from posert.runtime.media.read import frames

    path = checkpoint(network, "shufflenetv2k16", tmp_path)
    target, lines = tmp_path / "out" / "p.onnx", []
    with pytest.raises(PosertError, match="is not the official"):
        convert.convert("openpifpaf-shufflenetv2k16", target, from_file=path, accept_unpinned=True)
    with pytest.raises(PosertError, match="can run code when it is loaded"):
        convert.convert("openpifpaf", target, from_file=path)
    assert not target.exists()
    convert.convert("openpifpaf", target, from_file=path, accept_unpinned=True, report=lines.append)
    assert any("largest difference" in line for line in lines)
    picture = tmp_path / "p.png"
    cv2.imwrite(str(picture), np.random.default_rng(0).integers(0, 255, (150, 201, 3), np.uint8))
    with open_model(target, device="cpu", threads=1) as model:
        assert model.spec.skeleton.edges == ((0, 1), (0, 2), (3, 0), (4, 3))
        assert model.spec.skeleton.names == tuple(NAMES)
        assert model.spec.skeleton.flip == (0, 2, 1, 4, 3)
        assert model.spec.skeleton.sigmas == pytest.approx([0.02, 0.03, 0.04, 0.05, 0.06])
        (result,) = estimate(model, frames(picture))
        assert result.poses.keypoints.shape[1:] == (5, 3)


def test_133_keypoints(network: Any, tmp_path: Path) -> None:
    path = checkpoint(network, "mobilenetv3small", tmp_path, parts=133)
    with open_model(exported(path, tmp_path), device="cpu", threads=1) as model:
        assert len(model.spec.skeleton.names) == 133
        assert len(model.spec.skeleton.edges) == 132
        assert model.run("pose", np.zeros((1, 3, 97, 97), np.float32))["cif"].shape == (1, 133, 5, 13, 13)


def test_files_that_are_no_such_network(network: Any, tmp_path: Path) -> None:
    import torch

    from posert.export.systems.openpifpaf import load

    (tmp_path / "junk.pkl").write_bytes(b"junk")
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "linear.pkl")
    with pytest.raises(PosertError, match="no checkpoint"):
        load(tmp_path / "junk.pkl")
    with pytest.raises(PosertError, match="it holds a Linear"):
        load(tmp_path / "linear.pkl")


class Evil:
    """Says something when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("import logging; logging.getLogger('posert').warning('the code has run')",)


def test_a_pickle_with_code_in_it(
    network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With 8 digits of a hash it is not loaded; who takes it unpinned hears that it runs code before it does."""
    import torch

    from posert.export import convert, weights

    path = tmp_path / "evil.pkl"
    torch.save({"model": torch.nn.Linear(1, 1), "meta": Evil()}, path)
    known = replace(weights.find("openpifpaf-resnet50"), sha256_prefix=sha256_of(path)[:8])
    monkeypatch.setattr(weights, "find", lambda _: known)
    with pytest.raises(PosertError, match="only 8 digits of its hash are published"):
        convert.convert(known.name, tmp_path, from_file=path)
    assert not caplog.records
    with pytest.raises(PosertError, match="it holds a Linear"):
        convert.convert(known.name, tmp_path, from_file=path, accept_unpinned=True)
    said = [record.getMessage() for record in caplog.records]
    assert "evil.pkl is more than a network: it runs code as it is loaded" in said[-2]
    assert said[-1] == "the code has run"


def test_a_tracking_network_is_refused(network: Any, tmp_path: Path) -> None:
    from posert.export.systems.openpifpaf import load

    with pytest.raises(PosertError, match="is a tracking network"):
        load(checkpoint(network, "tshufflenetv2k16", tmp_path))


def test_batchnorms_take_the_originals_epsilon(network: Any, tmp_path: Path) -> None:
    import torch

    from posert.export.systems.openpifpaf import load

    net, _, _ = load(checkpoint(network, "mobilenetv3small", tmp_path))
    assert {module.eps for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)} == {1e-3}
