"""Wheels for every platform, from this machine: `python wheels/make.py [PLATFORM ...]` writes them to dist/.

Owns nothing but the round. Needs numba, setuptools and ziglang in the environment (`make wheels`).
"""

import argparse
import tempfile
from pathlib import Path

import backend
import kernels


def main() -> None:
    """Compiles what is missing for all of them at once, then packs one after the other."""
    parser = argparse.ArgumentParser(description="write wheels")
    parser.add_argument("platform", nargs="*", default=list(kernels.PLATFORMS), help=", ".join(kernels.PLATFORMS))
    parser.add_argument("--dist", type=Path, default=kernels.ROOT / "dist")
    options = parser.parse_args()
    wanted = {name: kernels.PLATFORMS[name] for name in options.platform}
    levels = [kernels.build.Target(each.triple, level) for each in wanted.values() for level in each.levels]
    kernels.compiled([*levels, *kernels.build.TARGETS.values()])
    options.dist.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        pure = backend.pure_wheel(scratch)
        for name, platform in wanted.items():
            for old in options.dist.glob(f"posert-*-{platform.tag}.whl"):
                old.unlink()
            files = backend.package_files(name, Path(scratch), portable=True)
            kernels.say(f"wrote {backend.with_files(pure, files, f'py3-none-{platform.tag}', options.dist)}")


if __name__ == "__main__":
    main()
