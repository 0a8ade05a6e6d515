"""What the real clients speak to: a ringway with HTTPS listeners, and targets behind it."""

import contextlib
import dataclasses
import pathlib
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from . import balancer, browser, grpc_target
from .target import Target

CONFIG = """
[server]
workers = 2
drain_timeout = "1s"

[server.control]
address = "127.0.0.1:0"

[[target_groups]]
name = "web"
targets = ["{web}"]
health_check = {{ enabled = false }}

[[target_groups]]
name = "sockets"
targets = ["{sockets}"]
health_check = {{ enabled = false }}

[[target_groups]]
name = "calls"
protocol_version = "GRPC"
targets = ["{calls}"]
health_check = {{ enabled = false }}

[[listeners]]
name = "web"
address = "127.0.0.1:0"
default = {{ forward = "web" }}
{tls}

[[listeners.rules]]
priority = 1
path_pattern = "/socket"
forward = "sockets"

[[listeners.rules]]
priority = 2
path_pattern = "/ringway.test.*"
forward = "calls"

[[listeners]]
name = "plain"
address = "127.0.0.1:0"
h2c = true
default = {{ forward = "web" }}
"""


@dataclasses.dataclass
class Setting:
    directory: pathlib.Path
    binary: pathlib.Path
    authority: balancer.Authority
    balancer: balancer.Balancer
    target: Target
    # The target of gRPC calls.
    calls: grpc_target.Target

    @property
    def port(self) -> int:
        return self.balancer.port("web")

    @property
    def ca(self) -> str:
        return str(self.authority.ca)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"


def echo(connection) -> None:
    with contextlib.suppress(ConnectionClosed):
        for message in connection:
            connection.send(message)


@contextlib.contextmanager
def websocket_target():
    """The address of a server that echoes messages."""
    with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield "127.0.0.1:%d" % server.socket.getsockname()[1]
        server.shutdown()


@contextlib.contextmanager
def prepared(binary: pathlib.Path, directory: pathlib.Path):
    """A `Setting`, and its end."""
    authority = balancer.Authority(directory)
    target = Target(browser.pages())
    with contextlib.ExitStack() as stack:
        calls = stack.enter_context(grpc_target.serving())
        config = CONFIG.format(
            web=target.address,
            sockets=stack.enter_context(websocket_target()),
            calls=calls.address,
            tls=authority.tls(),
        )
        running = stack.enter_context(balancer.running(binary, config))
        yield Setting(directory, binary, authority, running, target, calls)
