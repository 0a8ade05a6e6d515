"""RFC 9113 sections 3 and 9.2: how a connection begins."""

import ssl

from . import wire
from .connection import Failed
from .registry import PLAIN, TLS, case


@case("9113-3.2", over=(TLS,), raw=True)
def alpn_chooses_http11_without_h2(server):
    """A client that does not offer h2 is served HTTP/1.1."""
    with server.secure(server.tcp(), ["http/1.1"]) as sock:
        if sock.selected_alpn_protocol() != "http/1.1":
            raise Failed(f"ALPN chose {sock.selected_alpn_protocol()}")
        speak_http1(sock)


@case("9113-3.2", over=(TLS,), raw=True)
def alpn_prefers_h2(server):
    """Of http/1.1 and h2, in whatever order, h2 is chosen."""
    with server.secure(server.tcp(), ["http/1.1", "h2"]) as sock:
        if sock.selected_alpn_protocol() != "h2":
            raise Failed(f"ALPN chose {sock.selected_alpn_protocol()}")


@case("9113-9.2.2", over=(TLS,), raw=True)
def tls12_with_a_good_cipher(server):
    """HTTP/2 over TLS 1.2, with an ephemeral AEAD cipher suite, works."""
    connection = server.connect()
    connection.close()
    sock = server.secure(server.tcp(), ["h2"], ssl.TLSVersion.TLSv1_2)
    connection.sock = sock
    if sock.version() != "TLSv1.2" or "ECDHE" not in sock.cipher()[0]:
        raise Failed(f"{sock.version()} {sock.cipher()}")
    connection.greet()
    connection.get()


@case("9113-3.1", over=(PLAIN,), raw=True, ours=True)
def http11_on_the_same_port(server):
    """Where the preface does not come, HTTP/1.1 is spoken; Upgrade: h2c is not followed."""
    with server.tcp() as sock:
        speak_http1(sock)
    with server.tcp() as sock:
        upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        speak_http1(sock, upgrade)


def speak_http1(sock, more: str = "") -> None:
    sock.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())
    answer = b""
    while not answer.endswith(b"hello"):
        octets = sock.recv(4096)
        if not octets:
            break
        answer += octets
    if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(b"hello"):
        raise Failed(f"HTTP/1.1 got {answer!r}")


@case("9113-3.4", raw=True)
def settings_come_first(server):
    """The server's preface is a SETTINGS frame; each SETTINGS of the client is acknowledged."""
    connection = server.connect()
    connection.greet()
    connection.alive()


@case("9113-3.4", raw=True)
def preface_byte_by_byte(server):
    """The preface may come in pieces of any size."""
    connection = server.connect()
    for octet in wire.PREFACE + wire.frame(wire.SETTINGS)[:-1]:
        connection.send(bytes([octet]))
    connection._pending_windows.append(None)
    connection.send(b"\0")
    connection.alive()


@case("9113-3.4", raw=True)
def request_with_the_preface(server):
    """A client may send requests before it knows the server's SETTINGS."""
    connection = server.connect()
    connection.send(wire.PREFACE)
    connection.announce()
    connection.get()


@case("9113-3.4", raw=True)
def bad_preface(server):
    """A bad preface is a connection error PROTOCOL_ERROR; GOAWAY may be left out."""
    connection = server.connect()
    connection.send(wire.PREFACE[:-4] + b"XX\r\n" + wire.settings())
    if server.over == PLAIN:
        # Up to here it may be HTTP/1.1, in which this is answered by 400 or 505.
        connection._greeted = True
        connection._take = lambda octets: setattr(connection, "end", "" if octets else "closed")
    connection.connection_error(wire.PROTOCOL_ERROR, silent=True)


@case("9113-3.4", raw=True)
def settings_missing(server):
    """A preface that is not followed by SETTINGS is a connection error PROTOCOL_ERROR."""
    connection = server.connect()
    connection.send(wire.PREFACE, wire.ping())
    if not connection.deviates:
        connection.connection_error(wire.PROTOCOL_ERROR, silent=True, seconds=3)
        return
    connection.announce()
    connection.alive()


@case("9113-3.4", raw=True)
def headers_in_place_of_settings(server):
    """A request in place of the first SETTINGS is a connection error PROTOCOL_ERROR."""
    connection = server.connect()
    number = connection.open()
    connection.send(wire.PREFACE, wire.headers(number, connection.block()))
    if not connection.deviates:
        connection.connection_error(wire.PROTOCOL_ERROR, silent=True, seconds=3)
        return
    connection.announce()
    connection.response(number)
    connection.alive()


@case("9113-3.4", raw=True)
def settings_acknowledged_in_place_of_sent(server):
    """An acknowledgement is not the SETTINGS that has to follow the preface."""
    connection = server.connect()
    connection.send(wire.PREFACE, wire.frame(wire.SETTINGS, wire.ACK))
    connection.connection_error(wire.PROTOCOL_ERROR, silent=True)
