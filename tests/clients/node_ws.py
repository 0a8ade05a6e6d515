"""Node's library ws over wss, and Node's own HTTP/2: clients/node/sockets.js."""

import os
import pathlib
import subprocess

from .demands import demand
from .setting import Setting

TIMEOUT_SECONDS = 60
SCRIPT = pathlib.Path(__file__).parent / "node" / "sockets.js"
MODULES = pathlib.Path(__file__).parents[2] / "target" / "clients" / "node_modules"


def sockets(setting: Setting) -> str:
    """A WebSocket with messages of each length, ping and close; 100 streams of HTTP/2 at once."""
    done = subprocess.run(
        ["node", SCRIPT, setting.url, setting.ca],
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
        env=dict(os.environ, NODE_PATH=str(MODULES)),
    )  # fmt: skip
    demand(done.returncode == 0, done.stdout + done.stderr)
    return done.stdout.strip()


CHECKS = {"node-ws": sockets}
