"""A person corrects labels in the page, downloads them, and samples are made with them."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("websockets")

import websockets
from rader_synthesis.explorer import write_page

from rader_plugins.trajectories import Step
from tests.synthesis.sampling_support import all_samples, doc, query, rader, retrieval, thought, trajectory, write

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Tab:
    """A page in Chromium, driven by its debugging protocol."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.number = 0

    async def call(self, method: str, **parameters: Any) -> Any:
        self.number += 1
        await self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while (message := json.loads(await self.socket.recv())).get("id") != self.number:
            pass
        return message["result"]

    async def value(self, expression: str) -> Any:
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        while not await self.value(expression):
            await asyncio.sleep(0.02)

    async def open(self, page: Path) -> None:
        await self.call("Page.navigate", url=page.as_uri())
        await self.until(f"document.readyState === 'complete' && location.pathname.endsWith({page.name!r})")
        await self.until("document.querySelectorAll('.card').length > 0")


async def corrected(page: Path, folder: Path) -> dict[str, Any]:
    """Correct two labels, download them, open the page again and take them back; return what was seen."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    process = await asyncio.create_subprocess_exec(
        str(BROWSER), *options, "--remote-debugging-port=0", "about:blank", stderr=asyncio.subprocess.PIPE
    )
    try:
        port = None
        while port is None:
            line = (await process.stderr.readline()).decode()
            assert line, "the browser ended"
            port = re.search(r"ws://[^:]*:(\d+)/", line)
        text = await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port[1]}/json")
        address = next(target["webSocketDebuggerUrl"] for target in json.loads(text.read()) if target["type"] == "page")
        async with websockets.connect(address, max_size=None) as socket:
            tab = Tab(socket)
            await tab.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder / "downloads"))
            await tab.open(page)
            seen = {"open": await tab.value("[...document.querySelectorAll('.card details')].every((one) => one.open)")}
            for card, choice in ((1, 0), (2, 1), (0, 1), (0, 0)):  # the last takes back the one before it
                await tab.value(
                    f"document.querySelectorAll('.card')[{card}].querySelectorAll('.choices button')[{choice}].click()"
                )
            seen["bar"] = await tab.value("document.getElementById('labels-count').textContent")
            await tab.value("document.getElementById('labels-download').click()")
            file = folder / "downloads" / "labels.jsonl"
            while not file.is_file():
                await asyncio.sleep(0.02)
            verdict = "document.querySelectorAll('.card')[1].querySelector('.verdict').textContent"
            corrected_verdict = await tab.value(verdict)
            # Browsers store what a page keeps a moment later: one that is opened at once may not find it yet.
            while seen.get("kept") != corrected_verdict:
                await tab.open(page)
                seen["kept"] = await tab.value(verdict)
            await tab.value("document.querySelector('[data-filter=fit]').click()")
            seen["fit"] = await tab.value(
                "[...document.querySelectorAll('#problems .id')].map((one) => one.textContent)"
            )
            await tab.value("document.getElementById('labels-discard').click()")
            seen["discarded"] = await tab.value("document.getElementById('labels').hidden")
    finally:
        process.kill()
        await process.wait()
    return seen


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
async def test_labels_are_corrected_in_a_browser_and_samples_follow_them(tmp_path: Path) -> None:
    steps = (
        thought("s"), Step("rewrite", "in other words"), query("refund after 42 days"),
        retrieval(doc("a", True), doc("b", False), doc("c"), kept="a"), Step("open", "text", "a"),
    )  # fmt: skip
    log = [trajectory("conversation-7", *steps, problem="p"), trajectory("other", *steps, reward=0.0, problem="q")]
    write_page(write(tmp_path, log), tmp_path / "page.html")
    seen = await asyncio.wait_for(corrected(tmp_path / "page.html", tmp_path), 200)
    assert seen == {
        "open": True, "bar": "2 corrected labels", "kept": "\u2713 relevant", "fit": ["conversation-7"],
        "discarded": True,
    }  # fmt: skip
    labels = tmp_path / "downloads" / "labels.jsonl"
    done = rader("samples", tmp_path / "trajectories.jsonl", "--out", tmp_path / "s", "--labels", labels)
    assert done.exit_code == 0, done.output
    for sample in all_samples(tmp_path / "s"):
        assert {passage.id for passage in sample.positives} == {"a", "b"}
        assert {passage.id: passage.origin for passage in sample.negatives} == {"c": "human"}


def test_a_page_knows_the_names_of_the_log_and_what_is_fit(tmp_path: Path) -> None:
    search = retrieval(doc("a", True), doc("b"))
    log = [
        trajectory("run-1", search, problem="p"),
        trajectory("run-2", search, reward=None, problem="p"),
        trajectory("run-3", retrieval(doc("a", False)), problem="q"),
    ]
    write_page(write(tmp_path, log), tmp_path / "page.html")
    data = re.search(r'id="index">(.*?)</script>', (tmp_path / "page.html").read_text(encoding="utf-8"))
    assert data is not None
    first, second = json.loads(data[1])["problems"]
    assert (first["logs"], first["fit"], first["unjudged"]) == (["run-1", "run-2"], 1, 3)
    assert (second["logs"], second["fit"], second["unjudged"]) == (["run-3"], 0, 0)
