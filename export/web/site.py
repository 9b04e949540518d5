"""The folder of a web site: the page, the modules, posert.wasm, ONNX Runtime for the web, models.

Owns which files lie in it, and the pin of ONNX Runtime, which is fetched once. Needs no compiler: posert.wasm comes
with the package.
"""

import hashlib
import html
import json
import re
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import posert
from posert.errors import PosertError
from posert.export.fetch import Progress
from posert.export.web.schema import schema
from posert.export.web.table import model_bytes
from posert.export.weights import Entry, pull
from posert.pages.html import in_script, module_names, text_of
from posert.runtime.options import ModelOptions
from posert.runtime.session import files_of, open_model

FILES, WASM = Path(__file__).with_name("files"), Path(__file__).with_name("posert.wasm")
RUNTIME = Entry(
    name="onnxruntime-web", system="web", route="onnx", licence="MIT", source="npm, onnxruntime-web 1.30.0",
    file="onnxruntime-web-1.30.0.tgz",
    url="https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-1.30.0.tgz",
    sha256="d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71", bytes=33106585,
)  # fmt: skip
_RUNTIME_FILES = (
    "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm",
)  # fmt: skip
"""The first three go to browsers without WebGPU, the others to those with it."""
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)


def wasm_bytes() -> bytes:
    """posert.wasm.

    Raises:
        PosertError: the package has none: it was installed from source without ziglang.
    """
    if WASM.is_file():
        return WASM.read_bytes()
    raise PosertError(
        "this posert has no posert.wasm, for it was built without the compiler for it",
        "install a wheel; or from source: pip install ziglang, then make wasm",
    )


def module_texts() -> dict[str, str]:
    """File name -> text of the module for other people's pages, without posert.wasm and ONNX Runtime."""
    texts = {file.name: file.read_text(encoding="utf-8") for file in FILES.iterdir()}
    described = json.dumps(schema(), separators=(",", ":"), allow_nan=False)
    texts["package.json"] = texts["package.json"].replace("0.0.0", posert.__version__)
    return texts | {"schema.mjs": f"export const schema = {described};\n"}


def write_site(
    models: Sequence[str | Path],
    folder: Path,
    *,
    params: Mapping[str, Any] | None = None,
    parts: tuple[str | Path, ...] = (),
    offline: bool = False,
    progress: Progress | None = None,
) -> list[str]:
    """Writes a static site that finds people with these models; returns the names of its files.

    Args:
        models: .onnx files with posert metadata, or `nano`; the page begins with the first.
        folder: is made if it is not there; files of the same names are replaced.
        params: over the files', for all of them, as of `ModelOptions`. parts: networks for hands and the like.
        offline: ONNX Runtime for the web comes from the cache or the folder of POSERT_MIRROR.

    Raises:
        PosertError: a model cannot be opened, or needs what a page has not; ONNX Runtime cannot be fetched.
    """
    wasm, listed = wasm_bytes(), []
    files: dict[str, Path] = {}
    options = ModelOptions(device="cpu", threads=1, params=params or {}, parts=parts)
    for path in models:
        name = _checked(path, options)
        for file in files_of(path, options):
            if files.setdefault(file.name, file).resolve() != file.resolve():
                raise PosertError(f"two files are called {file.name}", "give one of them another name")
        main, *_ = files_of(path)
        given = {"params": dict(params or {}), "parts": [Path(part).name for part in parts]}
        listed.append({"file": main.name, "name": name, "options": given})
    archive = pull(RUNTIME, offline=offline, progress=progress)
    folder.mkdir(parents=True, exist_ok=True)
    texts = module_texts() | _page_texts(listed)
    worker = texts.pop("sw.js")
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    (folder / "posert.wasm").write_bytes(wasm)
    _unpack_runtime(archive, folder)
    for file in files.values():
        if file.resolve() != (folder / file.name).resolve():
            shutil.copyfile(file, folder / file.name)
    first = ["./", *sorted(texts.keys() - {"package.json", "posert.d.mts"}), "posert.wasm"]
    whole = hashlib.sha256(wasm + RUNTIME.sha256.encode())
    for data in (*(text.encode() for text in texts.values()), *(file.read_bytes() for file in files.values())):
        whole.update(data)
    worker = worker.replace("@HASH@", whole.hexdigest()[:16]).replace("@FILES@", json.dumps(first))
    (folder / "sw.js").write_text(worker, encoding="utf-8", newline="\n")
    return sorted(file.name for file in folder.iterdir())


def _checked(path: str | Path, options: ModelOptions) -> str:
    """The model's name; raises PosertError where a page could not use it."""
    with open_model(path, options) as model:
        spec = model.spec
        if spec.stages[0].region == "boxes":
            what = f"{spec.model} looks at boxes and has no detector, and a page has none from outside"
            raise PosertError(what, "export it with a detector")
        if any(len(stage.scales) > 1 for stage in spec.stages):
            what = f"{spec.model} averages over several sizes, which a page cannot"
            raise PosertError(what, "make the model with one size, or use it from Python")
        model_bytes(model)
        return spec.model


def _page_texts(models: list[dict[str, Any]]) -> dict[str, str]:
    """The page and what of `pages/` it shares with reports."""
    needed = re.findall(r'from "\./(\w+)\.js"', (FILES / "page.mjs").read_text(encoding="utf-8"))
    shared = dict.fromkeys(name for entry in needed for name in module_names(entry))
    data = in_script({"models": models, "version": posert.__version__})
    title = html.escape(models[0]["name"])
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="posert">
<title>People in pictures: {title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="style.css">
</head>
<body>
<script type="application/json" id="page">{data}</script>
<script type="module" src="page.mjs"></script>
</body>
</html>
"""
    texts = {f"{name}.js": text_of(f"{name}.js") for name in shared}
    return texts | {"style.css": text_of("style.css"), "index.html": page}


def _unpack_runtime(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as package:
        for name in _RUNTIME_FILES:
            member = package.extractfile(f"package/dist/{name}")
            assert member is not None, "the archive's hash was checked"
            with member, (folder / name).open("wb") as file:
                shutil.copyfileobj(member, file)
