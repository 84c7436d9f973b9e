"""A headless Chromium, spoken to in W3C WebDriver's own words: JSON over HTTP, no client library."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2

HOST = "axon.test"  # not localhost: some pages behave better there than elsewhere
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver's name for a reference to an element
WAIT_S = 20


def missing_program() -> str | None:
    """The program that is not installed, if any."""
    return next((name for name in ("chromium", "chromedriver") if shutil.which(name) is None), None)


class StaleElement(Exception):
    """The page was drawn anew after the element was found."""


class Browser:
    """One tab. Every wait ends with an AssertionError that says what did not come."""

    def __init__(self, session: httpx2.Client) -> None:
        self._session = session

    def _command(self, method: str, path: str, **body: Any) -> Any:
        response = self._session.request(method, path, **({"json": body} if method == "POST" else {}))
        value = response.json()["value"]
        if response.status_code == 404 and value["error"] == "stale element reference":
            raise StaleElement(value["message"])
        assert response.status_code == 200, response.text
        return value

    def open(self, url: str) -> None:
        self._command("POST", "url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """Evaluate JavaScript in the page."""
        return self._command("POST", "execute/sync", script=script, args=list(arguments))

    def find(self, selector: str) -> str:
        """The first element that fits, once it is there."""
        give_up_at = time.monotonic() + WAIT_S
        while time.monotonic() < give_up_at:
            found = self._command("POST", "elements", using="css selector", value=selector)
            if found:
                return str(found[0][ELEMENT])
            time.sleep(0.1)
        raise AssertionError(f"{selector} did not appear; the page says:\n{self.run('return document.body.innerText')}")

    def wait_until(self, expression: str) -> None:
        """Until this JavaScript is true."""
        give_up_at = time.monotonic() + WAIT_S
        while not self.run(f"return {expression}"):
            assert time.monotonic() < give_up_at, f"{expression} never came true"
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        def scroll_and_click(element: str) -> None:
            self.run("arguments[0].scrollIntoView({block: 'center'})", {ELEMENT: element})
            self._command("POST", f"element/{element}/click")

        self._of(selector, scroll_and_click)

    def press(self, selector: str, keys: str) -> None:
        """Keys while the element has the focus; arrows and the like are WebDriver's code points, U+E000 and above."""
        self._of(selector, lambda element: self._command("POST", f"element/{element}/value", text=keys))

    def text(self, selector: str) -> str:
        return str(self._of(selector, lambda element: self._command("GET", f"element/{element}/text")))

    def _of(self, selector: str, ask: Callable[[str], Any]) -> Any:
        """What `ask` says of the element that fits; where the page was drawn anew meanwhile, of the one that fits then."""
        give_up_at = time.monotonic() + WAIT_S
        while True:
            with suppress(StaleElement):
                return ask(self.find(selector))
            assert time.monotonic() < give_up_at, f"{selector} is drawn anew again and again"

    def requested(self) -> list[str]:
        """Every address that the page has asked since this was last called; not those that the page's own policy forbade."""
        entries = self._command("POST", "se/log", type="performance")
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        forbidden = {message["params"]["requestId"] for message in messages if message["params"].get("blockedReason") == "csp"}
        sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
        return [request["request"]["url"] for request in sent if request["requestId"] not in forbidden]


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """HOST leads to this machine, every other name nowhere."""
    log_file = profile.with_suffix(".log")
    with log_file.open("wb") as log:
        driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=log, stderr=log, start_new_session=True)
    options = {
        "binary": shutil.which("chromium"),
        "args": [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1200,1600",
            f"--user-data-dir={profile}",
            f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ],
    }
    wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL"}}
    try:
        base = f"http://127.0.0.1:{_port(log_file)}/session"
        created = httpx2.post(base, json={"capabilities": {"alwaysMatch": wanted}}, timeout=60)
        assert created.status_code == 200, created.text
        address = f"{base}/{created.json()['value']['sessionId']}"
        with httpx2.Client(base_url=f"{address}/", timeout=60) as session:
            yield Browser(session)
            assert session.delete(address).status_code == 200
    finally:
        os.killpg(driver.pid, signal.SIGKILL)  # with it the browser, if it did not close
        driver.wait(20)


def _port(log_file: Path) -> int:
    """The one that chromedriver took, once it says that it listens there."""
    give_up_at = time.monotonic() + WAIT_S
    while not (said := re.search(r"started successfully on port (\d+)\.", log_file.read_text(encoding="utf-8"))):
        assert time.monotonic() < give_up_at, "chromedriver did not start"
        time.sleep(0.05)
    return int(said[1])
