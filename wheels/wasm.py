"""Makes `posert.wasm`: the C library with every decoder for web pages and other hosts, by `ziglang`.

Owns which C files it is made of and what is generated for them. `python wheels/wasm.py` puts it into the checkout;
`make wheels` and the build of a wheel where ziglang is there put it into the wheel, so that users need no compiler.
"""

import argparse
import re
import struct
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import kernels
from kernels import ROOT, build

from posert.export.embed import declarations
from posert.export.embed.declarations import TEXT, array, c_text, header
from posert.postprocess import decoder, names, suppression_rule
from posert.postprocess.kernels.registry import KERNELS
from posert.runtime import cuts, parts

PLACE = ROOT / "export" / "web" / "posert.wasm"
SOURCES = ("internal.h", "posert.c", "look.c", "people.c", "parts.c", "constants.c")
"""Of `export/embed/c`: all but the loading of ONNX Runtime."""
_FLAGS = (
    "-target", "wasm32-wasi", "-mexec-model=reactor", "-Os", "-std=c99", "-Wall", "-Wextra", "-Werror", "-DPOSERT_WASM",
    "-DPOSERT_WITHOUT_ORT", "-ffp-contract=off", "-fno-builtin-printf", "-msimd128", "-mbulk-memory",
    "-mnontrapping-fptoint", "-fno-sanitize=all", "-Wl,--gc-sections", "-Wl,--strip-all", "-Wl,-z,stack-size=262144",
)  # fmt: skip


def possible() -> bool:
    """Whether the compiler is here."""
    return find_spec("ziglang") is not None


def make(path: Path = PLACE) -> Path:
    """Compiles and links it, whole or not at all."""
    compiled = kernels.compiled([build.WASM])[build.WASM]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, text in _sources().items():
            (folder / name).write_text(text, encoding="utf-8")
        files = [*folder.glob("*.c"), *compiled]
        part = folder / "posert.wasm"
        subprocess.run([sys.executable, "-m", "ziglang", "cc", *_FLAGS, *map(str, files), "-o", str(part)], check=True)
        path.write_bytes(part.read_bytes())
    kernels.say(f"made {path.name}, {path.stat().st_size} bytes")
    return path


def _sources() -> dict[str, str]:
    """File name -> text."""
    c = ROOT / "export" / "embed" / "c"
    version = re.findall(r'^__version__ = "(.+)"$', (ROOT / "__init__.py").read_text(encoding="utf-8"), re.M)[0]
    public = (c / "posert.h").read_text(encoding="utf-8").replace("@VERSION@", version)
    for word, number in zip(("MAJOR", "MINOR", "PATCH"), version.split("."), strict=False):
        public = public.replace(f"@{word}@", number)
    kernels.module_keys()  # imports every kernel
    plain = [PLACE.with_name("wasm.c"), PLACE.with_name("expf.c"), *(c / name for name in SOURCES)]
    return {file.name: file.read_text(encoding="utf-8") for file in plain} | {
        "posert.h": public, "kernels.h": header(KERNELS.values()), "decoders.h": _decoders(),
        "exp2_table.h": exp2_table(),
    }  # fmt: skip


def exp2_table() -> str:
    """What `expf.c` takes from a table."""
    bits = [struct.unpack("<q", struct.pack("<d", 2.0 ** (i / 32)))[0] - (i << 47) for i in range(32)]
    return f"#define EXP2_TABLE {', '.join(f'{word:#x}u' for word in bits)}\n"


def _decoders() -> str:
    found = {name: decoder(name).KERNELS for name in names("decoders")}
    decoders = [
        declarations.struct({
            "name": c_text(name), "workspace": its.workspace.name, "people": its.people.name,
            "problems": array(TEXT, its.problems), "roles": array(TEXT, its.roles),
        })
        for name, its in found.items()
    ]  # fmt: skip
    rules = []
    for name in names("suppression"):
        its = suppression_rule(name).KERNELS
        members = {"workspace": its.workspace.name, "people": its.people.name, "problems": array(TEXT, its.problems)}
        rules.append(f"{{{c_text(name)}, {declarations.struct(members)}}}")
    place = {"place": parts.place_parts.name, "put": parts.put_part.name, "drop_doubles": parts.drop_doubles.name}
    return "\n".join([
        f"enum {{ SCENE_SIZE = {cuts.MEMORY} }};",
        f"static const posert__decoder decoders[] = {{{', '.join(decoders)}}};",
        f"static const struct {{ const char *name; posert__rule rule; }} rules[] = {{{', '.join(rules)}}};",
        f"static const posert__parts part_kernels = {declarations.struct(place)};",
        "",
    ])  # fmt: skip


def main() -> None:
    """Compiles it into the checkout."""
    parser = argparse.ArgumentParser(description="compile posert.wasm; needs ziglang")
    parser.add_argument("output", nargs="?", type=Path, default=PLACE)
    make(parser.parse_args().output)


if __name__ == "__main__":
    main()
