"""A real browser (Debian's Chromium) on JupyterLab and on the web app, on this machine alone.

Every request to another machine is refused and noted; so is every error on the page's console. A
test that uses ``page`` fails if there is one of either. Nothing outlives its module: while
Playwright runs, no other test of the same process can run an event loop.

Each wait is for a condition, and ends when it is so. Its limit is one that a machine meets on which
much else runs; nothing is timed by it.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright

ROOT = Path(__file__).parent.parent.parent
SCREENSHOTS = ROOT / "build" / "screenshots"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
LOCAL = re.compile(r"(https?|wss?)://127\.0\.0\.1[:/]|data:|blob:")
WAIT_S = 300
PATIENT = f"""
const timeout = AbortSignal.timeout;
AbortSignal.timeout = (ms) => timeout.call(AbortSignal, Math.max(ms, {WAIT_S * 1000}));
"""
"""anywidget gives a widget two seconds to begin, and does not try again; here it has longer."""


def chromium() -> str:
    """The browser's program; without one the test is skipped, or fails where it must not be."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        reason = f"no {' or '.join(NAMES)} on this machine; on Debian: apt-get install chromium"
        if os.environ.get("TRADESYS_BROWSER_REQUIRED"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
        return port


class Server:
    """A server on this machine: its address, its process, and what it wrote."""

    def __init__(self, command: list[str], ready: str, folder: Path, **environ: str) -> None:
        self.log = folder / "server.log"
        own = {
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_PLATFORM_DIRS": "1",
            # A kernel of this environment, whatever is on the path.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=os.environ | own | environ,
                start_new_session=True,
            )
        self.wait_for(ready)

    def wait_for(self, ready: str) -> None:
        """Ask until it answers; it may answer late, and must not have ended."""
        with socket.socket() as asked:
            asked.settimeout(WAIT_S)
            host, port = re.findall(r"//([\d.]+):(\d+)", ready)[0]
            while asked.connect_ex((host, int(port))):
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(0.1)
                    raise AssertionError(self.log.read_text("utf-8")[-3000:])
        with urllib.request.urlopen(ready, timeout=WAIT_S) as answer:  # noqa: S310 - of our own server
            assert answer.status == 200

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the notebooks: a test must not write into those of the project."""
    folder = tmp_path_factory.mktemp("lab") / "notebooks"
    shutil.copytree(ROOT / "notebooks", folder)
    return folder


@pytest.fixture(scope="module")
def lab(notebooks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab; gives the address of a notebook, with ``{}`` in the place of its name."""
    chromium()
    port, token = free_port(), secrets.token_hex(16)
    folder = tmp_path_factory.mktemp("server")
    # Nobody is to be asked about news.
    settings = folder / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}', "utf-8")
    server = Server(
        [
            *("jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
            *("--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"),
            *(f"--ServerApp.root_dir={notebooks}", "--LabApp.expose_app_in_browser=True"),
            *("--LabApp.news_url=", "--LabApp.extension_manager=readonly"),
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ],
        f"http://127.0.0.1:{port}/api/status?token={token}",
        folder,
    )
    yield f"http://127.0.0.1:{port}/doc/tree/{{}}?token={token}&reset"
    server.stop()


@pytest.fixture(scope="module")
def app(notebooks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The desk as a web app, as ``make app`` serves it; gives its address."""
    chromium()
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    server = Server(
        [
            *("voila", str(notebooks / "app.ipynb"), "--no-browser", f"--port={port}"),
            *("--Voila.ip=127.0.0.1", "--template=tradesys"),
            "--Voila.tornado_settings={'disable_check_xsrf': True}",
        ],
        f"{address}voila/static/favicon.ico",
        tmp_path_factory.mktemp("server"),
        JUPYTER_PATH=str(ROOT / "tradesys" / "widgets"),
    )
    yield address
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = chromium()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that asks nobody else, and says nothing is wrong with it."""
    expect.set_options(timeout=WAIT_S * 1000)
    context = browser.new_context(viewport={"width": 1500, "height": 1450})
    context.set_default_timeout(WAIT_S * 1000)
    context.add_init_script(PATIENT)
    opened = context.new_page()
    elsewhere: list[str] = []
    errors: list[str] = []

    def gate(route: Route) -> None:
        if LOCAL.match(route.request.url):
            route.continue_()
        else:
            elsewhere.append(route.request.url)
            route.abort()

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    context.route("**/*", gate)
    opened.on("console", hear)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    told = list(errors)
    opened.evaluate("window.jupyterapp?.serviceManager.sessions.shutdownAll()")
    context.close()
    assert elsewhere == []
    assert told == [], "\n".join(told)
