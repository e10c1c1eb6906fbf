"""A headless Chromium for the tests of pages, which are skipped where there is none."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def opened(profile: Path) -> Iterator[Browser]:
    """A browser that keeps its files in a folder."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    browser = Browser(profile)
    yield browser
    browser.call("Browser.close")
    try:
        browser.process.wait(20)
    except subprocess.TimeoutExpired:  # it may hang on its way out, after all that is tested
        browser.process.kill()
        browser.process.wait()


class Browser:
    """A headless Chromium, driven through the two pipes of its DevTools protocol."""

    def __init__(self, profile: Path) -> None:
        (commands, self.commands), (self.answers, answers) = os.pipe(), os.pipe()

        def place() -> None:
            for number, pipe in enumerate((os.dup(commands), os.dup(answers)), 3):
                os.dup2(pipe, number)

        words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        self.process = subprocess.Popen(
            [*words, f"--user-data-dir={profile}", "--disable-dev-shm-usage", "--no-first-run", "about:blank"],
            preexec_fn=place,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self.pending = b""
        self.session: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        self.count = 0
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        self.count += 1
        message = {"id": self.count, "method": method, "params": params, **self.session}
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while (answer := self.read()).get("id") != self.count:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def read(self) -> Any:
        while b"\0" not in self.pending:
            assert select.select([self.answers], [], [], 300)[0], "the browser does not answer"
            part = os.read(self.answers, 1 << 20)
            assert part, "the browser is gone"
            self.pending += part
        message, _, self.pending = self.pending.partition(b"\0")
        return json.loads(message)

    def open(self, page: Path | str, width: int = 1200, dark: bool = False) -> None:
        """Go to a file or an address, in a window of this width."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.absolute().as_uri() if isinstance(page, Path) else page)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read())

    def run(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> Any:
        """The value of a script, once it is not false."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"{script} stays {value!r}"
            time.sleep(0.1)
        return value

    def give(self, selector: str, file: Path) -> None:
        """Choose a file in an input of the page."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file.absolute())])

    def download(self, script: str, folder: Path, seconds: float = 60) -> Path:
        """The file that a script, such as a click, makes the browser download to a new folder."""
        folder.mkdir()
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self.run(script)
        end = time.monotonic() + seconds
        while not (files := [file for file in folder.iterdir() if file.suffix != ".crdownload"]):
            assert time.monotonic() < end, "nothing was downloaded"
            time.sleep(0.05)
        return files[0]

    def photograph(self, path: Path) -> None:
        """Write the whole page as a PNG."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def press(self, key: str) -> None:
        code = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39, "End": 35}[key]
        words = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **words, **({"text": "\r"} if key == "Enter" else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **words)

    def complaints(self) -> list[dict[str, Any]]:
        """Errors of scripts, and what the page's security policy has stopped."""
        return [e for e in self.events if e.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")]

    def requests(self) -> set[str]:
        sent = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return {url for url in sent if not url.startswith("data:")}
