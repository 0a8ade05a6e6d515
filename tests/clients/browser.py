"""Headless Chromium: a page with 100 images and a WebSocket, which reports what it saw."""

import base64
import hashlib
import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import tempfile

from .demands import demand

TIMEOUT_SECONDS = 60
IMAGES = 100
NAMES = ("chromium", "chromium-browser", "google-chrome")
PAGE = pathlib.Path(__file__).parent / "page.html"
# Each is some 10 KB long, and another one.
IMAGE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><title>{n}</title>'
    '<rect width="8" height="8"/><!-- {filler} --></svg>'
)


def pages() -> dict[str, tuple[str, bytes]]:
    """What the target needs to serve."""
    images = {
        f"/image/{n}": ("image/svg+xml", IMAGE.format(n=n, filler="x" * 10_000).encode())
        for n in range(IMAGES)
    }
    return images | {"/page": ("text/html; charset=utf-8", PAGE.read_bytes())}


def key_hash(certificate: pathlib.Path) -> str:
    """What Chromium calls the SPKI hash of a certificate."""
    key = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-pubkey", "-noout"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    der = base64.b64decode(b"".join(key.splitlines()[1:-1]))
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


def page(setting) -> str:
    """All images come over h2, and the WebSocket echoes."""
    command = next((path for name in NAMES if (path := shutil.which(name))), None)
    demand(command, "there is no chromium")
    with tempfile.TemporaryDirectory() as profile:
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",
            f"--user-data-dir={profile}", "--remote-debugging-port=0",
            f"--ignore-certificate-errors-spki-list={key_hash(setting.authority.certificate)}",
            f"{setting.url}/page",
        ]  # fmt: skip
        with (setting.directory / "chromium.log").open("wb") as log:
            child = subprocess.Popen(
                [command, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env=dict(os.environ, HOME=profile),
            )  # fmt: skip
        try:
            report = json.loads(setting.target.reports.get(timeout=TIMEOUT_SECONDS))
        except queue.Empty:
            log = (setting.directory / "chromium.log").read_text(errors="replace")
            demand(False, f"no report of the page; {setting.target.begun[-5:]}\n{log[-3000:]}")
        finally:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    demand(report["loaded"] == IMAGES, report)
    demand(report["protocols"] == {"h2": IMAGES}, report)
    demand(report["page"] == "h2" and report["echo"] == "hello from the page", report)
    return f"{report['loaded']} images over {report['protocols']}, WebSocket {report['echo']!r}"


CHECKS = {"chromium": page}
