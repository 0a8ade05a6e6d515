"""The list of cases, and the server that they are held against."""

import dataclasses
import socket
import ssl
from collections.abc import Callable

from .connection import DEADLINE_SECONDS, Connection

TLS, PLAIN = "tls", "h2c"


@dataclasses.dataclass
class Server:
    """A server, in front of `target`."""

    # By listener and kind of connection: TLS or h2c with prior knowledge.
    addresses: dict[tuple[str, str], tuple[str, int]]
    ca: str
    target: object
    # What it uses; None if nobody knows.
    process: object = None
    # Whether it is ringway: what we promise beyond the standard is held, too.
    ours: bool = True
    over: str = TLS
    mark: str = ""
    # Whether what conformance/deviations.py says is put up with.
    deviates: bool = False
    # What a flood has cost.
    notes: str = ""

    def tcp(self, listener: str = "web") -> socket.socket:
        """A TCP connection."""
        sock = socket.create_connection(self.addresses[listener, self.over], DEADLINE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def secure(self, sock: socket.socket, protocols=("h2",), version=None) -> ssl.SSLSocket:
        """TLS on it."""
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols(protocols)
        if version is not None:
            context.maximum_version = version
        return context.wrap_socket(sock, server_hostname="localhost")

    def connect(self, listener: str = "web") -> Connection:
        """A connection that has not said anything yet."""
        sock = self.tcp(listener)
        if self.over == TLS:
            sock = self.secure(sock)
            if sock.selected_alpn_protocol() != "h2":
                raise SystemExit("the server does not choose h2 by ALPN")
        scheme = "https" if self.over == TLS else "http"
        connection = Connection(sock, scheme, self.target)
        connection.mark = self.mark
        connection.deviates = self.deviates
        return connection

    def greeted(self, *settings: tuple[int, int]) -> Connection:
        """A connection on which SETTINGS have been exchanged."""
        connection = self.connect()
        connection.greet(*settings)
        return connection


    def connect_again(self) -> None:
        """A new connection is served."""
        connection = self.greeted()
        connection.get()
        connection.close()


@dataclasses.dataclass
class Case:
    name: str
    demands: str
    run: Callable
    # It gets the server, not a connection that has been greeted.
    raw: bool
    over: tuple[str, ...]
    # Only ringway is held against it.
    ours: bool


CASES: list[Case] = []


def case(section: str, raw: bool = False, over=(TLS, PLAIN), ours: bool = False):
    """Registers a case. Its name is the section of the standard and the name of the function; its
    docstring says what the standard demands."""

    def register(function: Callable) -> Callable:
        name = f"{section}/{function.__name__.replace('_', '-')}"
        demands = " ".join((function.__doc__ or "").split())
        CASES.append(Case(name, demands, function, raw, over, ours))
        return function

    return register
