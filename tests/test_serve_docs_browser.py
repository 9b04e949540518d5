"""The server's page of its interface in a real browser: every operation, examples, every error."""

import json
from pathlib import Path
from typing import Any

import pytest
from command import ROOT
from serving import serving

pytest.importorskip("uvicorn", reason="posert[serve] is not installed")
pytestmark = pytest.mark.pages


@pytest.mark.parametrize("width", [1100, 380])
def test_the_page_of_the_interface(tmp_path: Path, chromium: Any, width: int) -> None:
    api, wrong = json.loads((ROOT / "serve" / "openapi.json").read_text()), list[str]()
    (tmp_path / "gate").touch()
    with serving(tmp_path, "nano") as server:
        tab = chromium.new_page(viewport={"width": width, "height": 900})
        tab.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.goto(f"http://127.0.0.1:{server.port}/docs")
        tab.wait_for_selector("h2")
        titles = tab.locator("h2").all_inner_texts()
        examples = tab.locator("pre").all_inner_texts()
        answered = tab.evaluate("fetch(document.querySelector('p:last-child a').href).then((answer) => answer.status)")
        wide = tab.evaluate("document.documentElement.scrollWidth")
        tab.screenshot(path=tmp_path / "docs.png", full_page=True)
        tab.close()
    operations = [(path, method) for path, each in api["paths"].items() for method in each if method != "parameters"]
    assert [title.replace(" ", "").replace("\n", "") for title in titles[:-1]] == [
        method.upper() + path for path, method in operations
    ]
    assert titles[-1] == "Errors"
    assert any(f"http://127.0.0.1:{server.port}/v1/people" in text for text in examples)
    assert (answered, wide <= width, wrong) == (200, True, [])
