"""Starts ringway with a configuration that nobody needs, and runs scripts/test-api.sh against it.

    scripts/test-api.sh --install && python3 tests/api_contract.py [target/debug/ringway]

After thousands of random changes the export is still a good file, and what is there outlasts a
SIGKILL. Generated configurations may name any address. So all of it runs in a network namespace in
which there is only loopback: no probe can leave it.
"""

import contextlib
import fcntl
import http.server
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
READY_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 60
INSIDE = "--inside"
CONFIG = """
[server]
workers = 2
state_dir = "{dir}/state"
drain_timeout = "1s"

[server.control]
socket = "{dir}/control.sock"
address = "127.0.0.1:0"

[[target_groups]]
name = "home"
targets = ["{a}", {{ address = "{b}", weight = 2 }}]
health_check = {{ path = "/healthz", interval = "1s", timeout = "500ms" }}

[[target_groups]]
name = "blog"
algorithm = "least_outstanding_requests"
stickiness = {{ type = "lb_cookie", duration = "1h" }}
targets = ["{c}"]

[[target_groups]]
name = "spare"
algorithm = "weighted_random"

[[listeners]]
name = "web"
address = "127.0.0.1:0"
default = {{ forward = "home" }}

[[listeners.rules]]
priority = 10
path_pattern = ["/blog", "/blog/*"]
forward = "blog"

[[listeners.rules]]
priority = 20
host_header = "old.example.com"
redirect = {{ host = "www.example.com", status = 301 }}

[[listeners]]
name = "raw"
address = "127.0.0.1:0"
mode = "l4"
default = {{ forward = "blog" }}
"""


class Quiet(http.server.BaseHTTPRequestHandler):
    """Answers every GET."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def enter_namespace() -> None:
    """Runs this program anew where there is no network but loopback."""
    command = ["unshare", "--net"]
    if os.geteuid() != 0:
        command[1:1] = ["--user", "--map-root-user"]
    os.execvp(command[0], [*command, sys.executable, __file__, INSIDE, *sys.argv[1:]])


def raise_loopback() -> None:
    get, put, up = 0x8913, 0x8914, 0x1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP
    form = "16sh14x"
    with socket.socket() as any_socket:
        flags = fcntl.ioctl(any_socket, get, struct.pack(form, b"lo", 0))
        wanted = struct.unpack(form, flags)[1] | up
        fcntl.ioctl(any_socket, put, struct.pack(form, b"lo", wanted))


def start_target() -> str:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.server_port}"


def await_url(log: pathlib.Path, process: subprocess.Popen) -> str:
    """The URL of the control API, as the log tells it."""
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while True:
        text = log.read_text(errors="replace")
        found = re.search(r"the control API listens address=(\S+)", text)
        if found:
            return f"http://{found[1]}"
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"ringway is not ready:\n{text}")
        time.sleep(0.05)


def write_config(directory: pathlib.Path) -> None:
    a, b, c = (start_target() for _ in range(3))
    config = directory / "ringway.toml"
    config.write_text(CONFIG.format(dir=directory, a=a, b=b, c=c))


@contextlib.contextmanager
def running(binary: pathlib.Path, directory: pathlib.Path, end: signal.Signals):
    """The URL of the control API of a ringway that is ended by this signal."""
    log = directory / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [binary, "run", "--config", directory / "ringway.toml"],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=dict(os.environ, NO_COLOR="1"),
        )
    try:
        yield await_url(log, process)
        if process.poll() is not None or "panicked" in log.read_text(errors="replace"):
            raise SystemExit(f"ringway has failed:\n{log.read_text(errors='replace')}")
    finally:
        # The second one ends it at once, whatever drain_timeout has become.
        for _ in range(2):
            process.send_signal(end)
            time.sleep(0.2)
        process.wait(timeout=STOP_TIMEOUT_SECONDS)


def ask(url: str, path: str) -> bytes:
    with urllib.request.urlopen(url + path, timeout=READY_TIMEOUT_SECONDS) as response:
        return response.read()


def without_leases(config: dict) -> dict:
    """The configuration less what ends by itself."""
    for group in config["target_groups"].values():
        targets = group["targets"].items()
        group["targets"] = {key: target for key, target in targets if "expires" not in target}
    return config


def check_export(binary: pathlib.Path, directory: pathlib.Path, url: str) -> None:
    """Whatever the configuration has become, its export is a file that `ringway check` accepts."""
    exported = directory / "exported.toml"
    exported.write_bytes(ask(url, "/v1/config.toml"))
    checked = subprocess.run(
        [binary, "check", "--config", exported], capture_output=True, text=True, check=False
    )
    if checked.returncode != 0:
        raise SystemExit(f"the export is no good:\n{checked.stderr}\n{exported.read_text()}")


def main(arguments: list[str]) -> int:
    if arguments[:1] != [INSIDE]:
        enter_namespace()
    raise_loopback()
    binary = pathlib.Path(arguments[1] if len(arguments) > 1 else ROOT / "target/debug/ringway")
    binary = binary.resolve()
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        write_config(directory)
        with running(binary, directory, signal.SIGKILL) as url:
            status = subprocess.call([ROOT / "scripts/test-api.sh", url])
            check_export(binary, directory, url)
            before = without_leases(json.loads(ask(url, "/v1/config")))
        with running(binary, directory, signal.SIGTERM) as url:
            after = without_leases(json.loads(ask(url, "/v1/config")))
        if after != before:
            raise SystemExit(f"not all has outlasted the process:\n{before}\n{after}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
