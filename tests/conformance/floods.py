"""Floods and slow clients: what they cost the proxy, and that others do not notice.

Each flood runs beside a client that asks for something all the time over a connection of its own.
Limits are for the whole flood, in a debug build, too; the reason stands beside the number.
"""

import contextlib
import threading
import time

from clients.balancer import Meter

from . import wire
from .connection import Connection, Failed
from .registry import PLAIN, TLS, case
from .wire import NO_ERROR

MIB = 1024 * 1024

# What a connection may make the proxy hold beside bodies: two header lists of 64 KiB, buffers for
# reading and writing, 128 exchanges with their heads, and what the allocator keeps.
MEMORY_MAX = 12 * MIB
# What 128 bodies that nobody reads may make it hold: a buffer of 64 KiB and a half per stream on the
# side of the target, and one on the side of the client.
BODIES_MEMORY_MAX = 32 * MIB
# What a slow connection may make it hold: a TLS session, a buffer for each side, a body that waits.
SLOW_CONNECTION_MAX = 256 * 1024
# Longest answer to the other client while a flood runs on the same two cores as this driver.
ANSWER_SECONDS_MAX = 3.0
# Frames of a flood: far beyond what any client of good will sends without a use.
FRAMES = 200_000
# Processor time that the proxy may spend on a flood until it cuts it: 200,000 frames at 10 us would
# take as much, without any cut.
PROCESSOR_SECONDS_MAX = 2.0
# Requests of rapid-reset floods: each costs more than a frame, and so do those of the driver.
RESETS = 20_000
CHUNK = 200


class Other(threading.Thread):
    """A client of good will, on a connection of its own, in a thread of its own."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.connection = server.greeted()
        self.served = 0
        self.slowest = 0.0
        self.failure = ""
        self._ended = threading.Event()

    def run(self) -> None:
        try:
            while not self._ended.wait(0.005):
                began = time.monotonic()
                self.connection.get("/bytes/1000")
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.served += 1
        except (Failed, OSError) as error:
            self.failure = str(error)

    def stop(self) -> None:
        self._ended.set()
        self.join()
        self.connection.close()


@contextlib.contextmanager
def watched(server, memory=MEMORY_MAX, seconds=PROCESSOR_SECONDS_MAX, busy=False):
    """Runs the block beside another client, and holds memory and processor time of the proxy to
    these limits; with `busy`, those that requests of good will cost come on top."""
    server.target.release()
    other = Other(server)
    other.start()
    with Meter(server.process) as meter:
        began = time.monotonic()
        try:
            yield
        finally:
            while other.served < 10 and not other.failure:
                if time.monotonic() > began + 30:
                    break
                time.sleep(0.01)
            other.stop()
    # The other client costs something, too: 1 ms per request is far more than that.
    seconds += other.served * 0.001
    server.notes = (
        f"{meter.grown / MIB:.1f} MiB, {meter.seconds:.2f} s of processor time, "
        f"{other.served} other requests, the slowest {other.slowest * 1000:.0f} ms"
    )
    if other.failure or other.served < 10:
        raise Failed(f"the other client: {other.served} served, {other.failure}")
    if other.slowest > ANSWER_SECONDS_MAX:
        raise Failed(f"the other client waited {other.slowest:.2f} s")
    if meter.grown > memory:
        raise Failed(f"memory grew by {meter.grown / MIB:.1f} MiB, more than {memory / MIB:.0f}")
    if meter.seconds > seconds:
        raise Failed(f"{meter.seconds:.2f} s of processor time, more than {seconds:.2f}")
    server.connect_again()


def cut(c: Connection, how: str, sent: str) -> None:
    """The flood has been cut: by GOAWAY with an error where one could be read."""
    if how == "sent":
        c.read_until(lambda: False, 5)
    if not c.end:
        raise Failed(f"{sent}: {how}, and the connection goes on; {c.fate()}")
    if c.goaways and c.goaways[-1].error_code == NO_ERROR:
        raise Failed(f"{sent}: the end should name an error; {c.fate()}")


def flood(server, frames: bytes, count: int, reads: bool = True, prelude=None, **limits) -> None:
    """`frames`, so many of which are in it, until there were FRAMES: the proxy has to cut it."""
    with watched(server, **limits):
        c = server.greeted()
        if prelude:
            frames = prelude(c)
        how = c.pour(frames, FRAMES // count, reads)
        if how != "stalled" or reads:
            cut(c, how, f"{FRAMES} frames")
        c.close()


def flood_case(function):
    return case("flood", raw=True, over=(TLS,), ours=True)(function)


# ------------------------------------------------------------------------------- resets of streams


def resets(server, per_stream, wait: bool = False) -> None:
    """RESETS requests, each ended at once by what `per_stream` makes of its number."""
    with watched(server):
        c = server.greeted()
        how, number = "sent", 1
        head = c.block(path="/bytes/1000")
        while number < 2 * RESETS and how == "sent":
            numbers = range(number, number + 2 * CHUNK, 2)
            number += 2 * CHUNK
            for each in numbers:
                c.expect_on(each)
            how = c.pour(b"".join(per_stream(each, head) for each in numbers), 1)
        cut(c, how, f"{number // 2} resets")
        c.close()


@flood_case
def rapid_reset(server):
    """Requests that are reset at once (CVE-2023-44487)."""
    resets(server, lambda n, head: wire.headers(n, head) + wire.rst_stream(n))


@flood_case
def rapid_reset_of_uploads(server):
    """The same, with requests whose body is to come."""
    resets(server, lambda n, head: wire.headers(n, head, end=False) + wire.rst_stream(n))


@flood_case
def made_you_reset_by_window_update_of_0(server):
    """Requests that make the server reset them, by WINDOW_UPDATE with 0 (CVE-2025-8671)."""
    resets(server, lambda n, head: wire.headers(n, head) + wire.window_update(n, 0))


@flood_case
def made_you_reset_by_overflow(server):
    """The same, by a window that overflows."""
    overflow = wire.WINDOW_MAX
    resets(server, lambda n, head: wire.headers(n, head) + wire.window_update(n, overflow))


@flood_case
def made_you_reset_by_data_after_the_end(server):
    """The same, by DATA after END_STREAM."""
    resets(server, lambda n, head: wire.headers(n, head) + wire.data(n, b"x"))


@flood_case
def made_you_reset_by_priority_length(server):
    """The same, by PRIORITY of a bad length."""
    bad = lambda n: wire.frame(wire.PRIORITY, 0, n, b"\0")  # noqa: E731
    resets(server, lambda n, head: wire.headers(n, head) + bad(n))


@flood_case
def malformed_requests(server):
    """Requests that are malformed, one after the other."""
    upper = wire.literal("X-UPPER", "1")
    resets(server, lambda n, head: wire.headers(n, head + upper))


@flood_case
def streams_beyond_the_limit(server):
    """Requests beyond SETTINGS_MAX_CONCURRENT_STREAMS, each of which is refused."""
    with watched(server):
        server.target.hold()
        try:
            c = server.greeted()
            how, number = "sent", 1
            head = c.block(path="/hold")
            while number < 2 * RESETS and how == "sent":
                numbers = range(number, number + 2 * CHUNK, 2)
                number += 2 * CHUNK
                for each in numbers:
                    c.expect_on(each)
                how = c.pour(b"".join(wire.headers(each, head) for each in numbers), 1)
            cut(c, how, f"{number // 2} streams")
            c.close()
        finally:
            server.target.release()


# ------------------------------------------------------------------------------ headers without end


def endless(c, piece: bytes) -> bytes:
    """Opens a stream whose header block never ends; a chunk of CONTINUATION for it."""
    number = c.open()
    c.send(wire.headers(number, c.block(), more=True))
    return wire.continuation(number, piece, last=False) * CHUNK


@flood_case
def continuation_of_many_fields(server):
    """CONTINUATION without END_HEADERS, with fields that no table keeps (CVE-2024-27316)."""
    piece = wire.literal("x-a", "v" * 100)
    flood(server, b"", CHUNK, prelude=lambda c: endless(c, piece))


@flood_case
def continuation_of_one_byte(server):
    """The same, with frames of one byte of one endless value."""

    def begin(c) -> bytes:
        number = c.open()
        start = c.block() + b"\x00\x01x" + wire.integer(10_000_000, 7)
        c.send(wire.headers(number, start, more=True))
        return wire.continuation(number, b"v", last=False) * CHUNK

    flood(server, b"", CHUNK, prelude=begin)


@flood_case
def continuation_empty(server):
    """The same, with empty frames."""
    flood(server, b"", CHUNK, prelude=lambda c: endless(c, b""))


@flood_case
def continuation_full(server):
    """The same, with frames of 16 KiB."""
    piece = wire.literal("x-a", "v" * 4000) * 4
    with watched(server):
        c = server.greeted()
        number = c.open()
        c.send(wire.headers(number, c.block(), more=True))
        how = c.pour(wire.continuation(number, piece, last=False), 4000)
        if how != "ended":
            raise Failed(f"64 MB of header fields are taken: {how}")
        c.close()


@flood_case
def header_bomb(server):
    """A small block that refers ten thousand times to an entry of 4 KB (a header list of 40 MB)."""
    with watched(server):
        c = server.greeted()
        for _ in range(50):
            if c.end:
                c = server.greeted()
            number = c.open()
            block = c.block() + wire.literal("x-a", "v" * 3900, wire.KEPT)
            block += wire.indexed(62) * 10_000
            c.send(wire.headers(number, block))
            stream = c.streams[number]
            c.read_until(lambda stream=stream: stream.reset is not None or stream.ended)
            if any(c.mark in path for path in server.target.whole):
                raise Failed("it reached the target")
            if not c.end and stream.reset is None and not 400 <= stream.status <= 499:
                raise Failed(f"it got {stream}; {c.fate()}")
        c.close()


@flood_case
def headers_of_empty_fields(server):
    """Fields with empty names and values, without an end (CVE-2019-9516)."""
    flood(server, b"", CHUNK, prelude=lambda c: endless(c, b"\x00\x00\x00" * 10))


# ------------------------------------------------------------------------------- frames without use


@flood_case
def settings_unread(server):
    """SETTINGS whose acknowledgements nobody reads (CVE-2019-9515)."""
    flood(server, wire.settings() * CHUNK, CHUNK, reads=False)


@flood_case
def settings_read(server):
    """SETTINGS whose acknowledgements are read."""
    flood(server, wire.settings() * CHUNK, CHUNK)


@flood_case
def settings_that_move_all_windows(server):
    """SETTINGS that move the windows of 100 open streams, up and down."""

    def begin(c) -> bytes:
        for _ in range(100):
            c.request(path="/hold", method="POST", end=False)
        sizes = (wire.INITIAL_WINDOW_SIZE, 1), (wire.INITIAL_WINDOW_SIZE, 100_000)
        return b"".join(wire.settings(size) for size in sizes) * (CHUNK // 2)

    flood(server, b"", CHUNK, prelude=begin)


@flood_case
def ping_unread(server):
    """PING whose answers nobody reads (CVE-2019-9512)."""
    flood(server, wire.ping() * CHUNK, CHUNK, reads=False)


@flood_case
def ping_read(server):
    """PING whose answers are read."""
    flood(server, wire.ping() * CHUNK, CHUNK)


@flood_case
def data_empty(server):
    """Empty DATA without END_STREAM (CVE-2019-9518)."""

    def begin(c) -> bytes:
        return wire.data(c.request("POST", "/echo", end=False)) * CHUNK

    flood(server, b"", CHUNK, prelude=begin)


@flood_case
def data_of_padding(server):
    """DATA that is padding alone."""

    def begin(c) -> bytes:
        number = c.request("POST", "/echo", end=False)
        return wire.frame(wire.DATA, wire.PADDED, number, b"\0") * CHUNK

    flood(server, b"", CHUNK, prelude=begin)


@flood_case
def window_updates_of_the_connection(server):
    """WINDOW_UPDATE with 1 for the connection."""
    flood(server, wire.window_update(0, 1) * CHUNK, CHUNK)


@flood_case
def window_updates_of_a_stream(server):
    """WINDOW_UPDATE with 1 for a stream that has nothing to send."""
    server.target.hold()

    def begin(c) -> bytes:
        return wire.window_update(c.request(path="/hold"), 1) * CHUNK

    try:
        flood(server, b"", CHUNK, prelude=begin)
    finally:
        server.target.release()


@flood_case
def priority_frames(server):
    """PRIORITY for ever other streams (CVE-2019-9513)."""
    frames = b"".join(wire.priority(2 * n + 1, 2 * n + 3) for n in range(CHUNK))
    flood(server, frames, CHUNK)


@flood_case
def unknown_frames(server):
    """Frames of an unknown type."""
    flood(server, wire.frame(wire.UNKNOWN, 0, 0, b"abc") * CHUNK, CHUNK)


@flood_case
def rst_streams_of_closed_streams(server):
    """RST_STREAM for a stream that has ended."""

    def begin(c) -> bytes:
        number = c.request(path="/")
        c.response(number)
        return wire.rst_stream(number) * CHUNK

    flood(server, b"", CHUNK, prelude=begin)


@flood_case
def requests_are_no_flood(server):
    """Requests of good will in any number are served, to the announced end of the connection."""
    with watched(server, seconds=30):
        c = server.greeted()
        served = 0
        while served < 2000:
            numbers = [c.request(path="/") for _ in range(50)]
            for number in numbers:
                c.response(number)
            served += 50
            c.pong()


@flood_case
def large_bodies_are_no_flood(server):
    """Nor are large bodies both ways, with the WINDOW_UPDATE and small frames that they need."""
    with watched(server, seconds=30):
        c = server.greeted()
        for _ in range(3):
            c.get("/bytes/8000000")
        number = c.request("POST", "/head", end=False)
        c.upload(number, 8_000_000, end=False)
        for _ in range(3000):
            c.upload(number, 20, end=False)
        c.send(wire.data(number, end=True))
        c.response(number)


# ---------------------------------------------------------------------------------- slow and greedy


@flood_case
def responses_unread(server):
    """128 responses of 4 MiB, asked for with a window of 0 (CVE-2019-9517)."""
    with watched(server, BODIES_MEMORY_MAX):
        c = server.greeted((wire.INITIAL_WINDOW_SIZE, 0))
        c.refills = False
        numbers = [c.request(path="/bytes/4194304") for _ in range(128)]
        c.read_until(lambda: all(c.streams[n].status or c.streams[n].reset for n in numbers))
        c.pong()
        time.sleep(1)
        c.close()


@flood_case
def responses_in_the_socket(server):
    """128 responses of 4 MiB, asked for with all the window there can be, and never read."""
    with watched(server, BODIES_MEMORY_MAX):
        c = server.greeted((wire.INITIAL_WINDOW_SIZE, wire.WINDOW_MAX))
        c.credit(0, wire.WINDOW_MAX - wire.WINDOW_DEFAULT)
        for _ in range(128):
            c.request(path="/bytes/4194304")
        time.sleep(2)
        c.close()


@flood_case
def responses_byte_by_byte(server):
    """Responses whose window is opened by one byte at a time (CVE-2019-9511): cut, or not dear."""
    with watched(server, BODIES_MEMORY_MAX):
        c = server.greeted((wire.INITIAL_WINDOW_SIZE, 0))
        numbers = [c.request(path="/bytes/100000") for _ in range(50)]
        c.read_until(lambda: all(c.streams[n].status for n in numbers))
        for n in numbers:
            c.streams[n].window += 2000
        c.pour(b"".join(wire.window_update(n, 1) for n in numbers), 2000)
        c.close()


@flood_case
def uploads_unread(server):
    """128 uploads, as far as windows allow, to a target that reads nothing."""
    with watched(server, BODIES_MEMORY_MAX):
        server.target.hold()
        try:
            c = server.greeted()
            for _ in range(128):
                number = c.request("POST", "/hold", end=False)
                stream = c.streams[number]
                room = min(stream.send_window, c.send_window)
                c.upload(number, room, end=False)
            c.pong()
            c.close()
        finally:
            server.target.release()


@flood_case
def many_idle_connections(server):
    """500 connections that have said hello, and no more: 64 KiB each at most."""
    with watched(server, memory=500 * 64 * 1024, seconds=20):
        connections = [server.greeted() for _ in range(500)]
        for c in connections:
            c.close()


def slow(server, said, count: int = 100) -> None:
    """Connections that say something and then no more are closed, by the limits of the listener
    `brief`: one second for a head, two for silence."""
    with watched(server, memory=count * SLOW_CONNECTION_MAX, seconds=20):
        connections = [server.connect("brief") for _ in range(count)]
        for c in connections:
            c.counts_settings = False
            c.send(said(c))
        for c in connections:
            c._greeted = True
            c.read_until(lambda: False)
            if not c.end:
                raise Failed(f"still open; {c.fate()}")
            c.close()


slow_case = case("slow", raw=True, over=(TLS, PLAIN), ours=True)


@slow_case
def nothing_said(server):
    """Connections that say nothing at all."""
    slow(server, lambda c: b"")


@slow_case
def half_a_preface(server):
    """Connections that send half the preface."""
    slow(server, lambda c: wire.PREFACE[:12])


@slow_case
def preface_without_settings(server):
    """Connections that send the preface, and no SETTINGS."""
    slow(server, lambda c: wire.PREFACE)


@slow_case
def half_a_frame(server):
    """Connections that send half the head of a frame."""
    slow(server, lambda c: wire.PREFACE + wire.settings() + wire.ping()[:4])


@slow_case
def half_a_header_block(server):
    """Connections that send HEADERS, and no CONTINUATION."""
    slow(server, lambda c: wire.PREFACE + wire.settings()
         + wire.headers(1, c.block()[:10], more=True))


@slow_case
def idle_after_settings(server):
    """Connections that never ask for anything."""
    slow(server, lambda c: wire.PREFACE + wire.settings())


@slow_case
def body_that_stops(server):
    """Requests whose body stops half way."""

    def said(c) -> bytes:
        c.expect_on(1)
        head = c.block("POST", extra=[("content-length", "10")])
        return wire.PREFACE + wire.settings() + wire.headers(1, head, False) + wire.data(1, b"abc")

    slow(server, said)


@slow_case
def response_not_wanted(server):
    """Requests whose response the window never lets pass."""

    def said(c) -> bytes:
        c.expect_on(1)
        return (wire.PREFACE + wire.settings((wire.INITIAL_WINDOW_SIZE, 0))
                + wire.headers(1, c.block(path="/bytes/100000")))

    slow(server, said)


@case("slow", raw=True, over=(TLS,), ours=True)
def half_a_tls_handshake(server):
    """Connections that begin TLS, and stop."""
    with watched(server, seconds=20):
        sockets = [server.tcp("brief") for _ in range(100)]
        for sock in sockets:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01")
        for sock in sockets:
            try:
                while sock.recv(4096):
                    pass
            except ConnectionResetError:
                pass
            sock.close()
