"""Starts ringway with a configuration that nobody needs, and runs scripts/test-api.sh against it.

    python3 tests/api_contract.py [target/debug/ringway]
"""

import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
READY_TIMEOUT_SECONDS = 10
CONFIG = """
[server]
workers = 1
state_dir = "{dir}/state"

[server.control]
socket = "{dir}/control.sock"
address = "127.0.0.1:{port}"

[[target_groups]]
name = "home"
targets = ["127.0.0.1:9"]

[[listeners]]
name = "web"
address = "127.0.0.1:0"
default = {{ forward = "home" }}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_ready(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"{url}/v1/status", timeout=1).close()
            return
        except OSError as cause:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"ringway is not ready: {cause}") from cause
            time.sleep(0.05)


def main() -> int:
    binary = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/debug/ringway")
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        config = pathlib.Path(directory) / "ringway.toml"
        config.write_text(CONFIG.format(dir=directory, port=port))
        process = subprocess.Popen([binary.resolve(), "run", "--config", config])
        try:
            url = f"http://127.0.0.1:{port}"
            await_ready(url, process)
            return subprocess.call([ROOT / "scripts/test-api.sh", url])
        finally:
            process.terminate()
            process.wait(timeout=60)


if __name__ == "__main__":
    sys.exit(main())
