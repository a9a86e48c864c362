"""A browser without a window: what a page says to its console, what it asks the network for, how it looks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: Names of the browser's program; the environment may name another.
NAMES = ("chromium", "chromium-browser", "google-chrome")
VARIABLE = "SLHMC_CHROMIUM"
#: Folder in which screenshots are kept, and what it is without the variable.
ARTEFACTS, FOLDER = "CI_ARTEFACTS", "ci-artefacts"
ROOT = Path(__file__).parents[2]
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=4000",
)  # fmt: skip


def program() -> str | None:
    """Return the browser; None if there is none."""
    named = os.environ.get(VARIABLE)
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


def artefacts() -> Path:
    """Return the folder in which screenshots are kept."""
    folder = Path(os.environ.get(ARTEFACTS) or ROOT / FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass
class Visit:
    """Hold what a visit to a page left.

    :param dom: the page as it stands in the end.
    :param console: what was written to the console: errors of the script, what the page's policy forbade, ...
    :param requests: addresses that the page asked the network for.
    """

    dom: str
    console: list[str]
    requests: list[str]


def visit(page: Path, scratch: Path, *options: str) -> Visit:
    """Open a page from the disk.

    :param page: its file.
    :param scratch: an empty folder.
    :param options: of the browser; without one that asks for a picture the page is read as it stands in the end.
    """
    log = scratch / "network.json"
    command = [str(program()), *OPTIONS, f"--user-data-dir={scratch / 'profile'}", f"--log-net-log={log}",
               *(options or ("--dump-dom",)), page.resolve().as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    console = re.findall(r"INFO:CONSOLE[^\]]*\]\s*(.*)", done.stderr)
    return Visit(done.stdout, console, requests(log))


def requests(log: Path) -> list[str]:
    """Return the addresses that pages asked for, without those that the browser asks for itself.

    :param log: network log of the browser.
    """
    text = log.read_text(encoding="utf-8").rstrip()
    try:
        events = json.loads(text)["events"]
    except json.JSONDecodeError:
        # The browser was closed while it wrote.
        events = json.loads(text.rstrip(",") + "]}")["events"]
    found = []
    for event in events:
        told = event.get("params") or {}
        # The browser's own questions (is there a newer one?) come from no page.
        if "url" in told and told.get("initiator", "not an origin") != "not an origin":
            found.append(told["url"])
    return [url for url in found if not url.startswith(("file:", "data:", "about:", "blob:"))]
