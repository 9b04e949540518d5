"""One conversion from name to file: fetch, verify, build, stamp, reopen, compare. Knows systems only by file name."""

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from posert.export import _lock
from posert.export._lock import Entry, Progress
from posert.postprocess.errors import PosertError
from posert.runtime.frames import frames


def systems() -> list[str]:
    """The systems of this folder, by file name."""
    return sorted(
        p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_") and p.stem not in _TOOLS
    )


_TOOLS = {"convert", "kernels", "bundle"}


def convert(
    name: str,
    out: Path,
    *,
    from_file: Path | None = None,
    options: Iterable[str] = (),
    photo: Path | None = None,
    accept_unpinned: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """The file that the model `name` was exported to.

    Args:
        out: folder, or file ending in .onnx.
        from_file: the official file, already at hand.
        options: what the system's `OPTIONS` offers.
        photo: compared on this picture; a drawn one if None.
        report: gets one line per step.

    Raises:
        PosertError: whatever a step says; nothing is written then.
    """
    entry = _lock.find(name)
    system = _system(entry)
    if unknown := sorted(set(options) - system.OPTIONS):
        raise PosertError(
            f"{name} has no option {', '.join(unknown)}", f"it has: {', '.join(system.OPTIONS) or 'none'}"
        )
    target = out if out.suffix == ".onnx" else out / f"{name}.onnx"
    picture = _picture(photo)
    source = _lock.pull(entry, from_file=from_file, accept_unpinned=accept_unpinned, offline=offline, progress=progress)
    report(f"{source.name}: verified" if entry.pinned else f"{source.name}: unpinned, taken as it is")
    if entry.non_commercial:
        report(f"licence: {entry.licence}; these weights may not be used commercially")
    from posert.export import _graph

    _graph.save(system.build(entry, source, frozenset(options)), target)
    report(f"{target}: {target.stat().st_size} bytes, metadata read back")
    if reference := system.reference(entry, source):
        from posert.export._verify import compare

        report(f"compared with the original on {photo or 'a drawn picture'}:")
        report(str(compare(target, reference, picture)))
    return target


def tag(file: Path, name: str, out: Path | None = None) -> Path:
    """A ready-made ONNX with the metadata of `name`, written to `out` or over `file` itself.

    Raises:
        PosertError: no such file or name, or tensors that do not fit.
    """
    entry = _lock.find(name)
    if entry.route != "onnx":
        ready = [known.name for known in _lock.entries().values() if known.route == "onnx"]
        raise PosertError(f"{name} is not a ready-made ONNX", f"posert export {name}; tag knows {', '.join(ready)}")
    if not file.is_file():
        raise PosertError(f"there is no file {file}", "check the path")
    from posert.export import _graph

    target = out or file
    _graph.save(_system(entry).build(entry, file, frozenset()), target)
    return target


def _system(entry: Entry) -> ModuleType:
    if entry.route == "embedded":
        raise PosertError(f"{entry.name} comes with posert", f"posert infer {entry.name} SOURCE")
    if entry.system not in systems():
        raise PosertError(
            f"this version of posert cannot convert {entry.name} yet", "posert models list shows which it can"
        )
    try:
        return import_module(f"posert.export.{entry.system}")
    except ModuleNotFoundError as error:
        raise PosertError(f"conversions need more packages: {error}", "pip install 'posert[export]'") from None


def _picture(photo: Path | None) -> NDArray[np.uint8]:
    if photo is not None:
        return next(frames(photo)).bgr
    from posert.export.nano.clip import render

    return np.asarray(render(0)[0], np.uint8)
