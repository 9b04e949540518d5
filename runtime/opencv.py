"""Whether the module cv2 is whole: four packages bring it, and write over and take away each other's files."""

import importlib.metadata

from posert.errors import PosertError

_PACKAGES = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")


def installed() -> dict[str, str]:
    """Package -> version, of those that bring cv2 and are here."""
    found = {name: next(iter(importlib.metadata.distributions(name=name)), None) for name in _PACKAGES}
    return {name: package.version for name, package in found.items() if package is not None}


def broken() -> PosertError | None:
    """Why cv2 cannot be used, and what mends it; None if it can."""
    packages = installed()
    removed = f"pip uninstall -y {' '.join(packages)} && " if packages else ""
    mend = f"{removed}pip install {_PACKAGES[0]}"
    names = " and ".join(packages) or "no package of it"
    try:
        import cv2
    except ImportError as error:
        return PosertError(f"OpenCV cannot be imported ({names} installed): {error}", mend)
    if hasattr(cv2, "VideoCapture"):
        return None
    return PosertError(
        f"OpenCV is empty, though pip has {names}: another of its packages was removed and took the files along", mend
    )


def shared() -> str:
    """What to know where several packages bring cv2, in a line; empty if one does."""
    packages = installed()
    if len(packages) < 2:
        return ""
    import cv2

    names = ", ".join(f"{name} {version}" for name, version in packages.items())
    return (
        f"{names} share the folder cv2, where {cv2.__version__} is now; it works, but do not remove one of them: "
        "that takes the files of all"
    )
