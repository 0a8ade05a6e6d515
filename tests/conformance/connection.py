"""One HTTP/2 connection of a client that is a referee, too.

Whatever a case is about, each frame that comes is held against what RFC 9113 allows a server to
send: `Connection.receive` and what it calls.
"""

import dataclasses
import select
import socket
import ssl
import time

import hpack
import hyperframe.exceptions
import hyperframe.frame as hf

from . import wire

# Longest wait for what has to come. Each is far beyond what a busy machine needs.
DEADLINE_SECONDS = 15
# A server that reads nothing for this long has stopped reading.
STALL_SECONDS = 3
READ_BYTES = 65536
# RFC 9113 section 8.2.2.
CONNECTION_SPECIFIC = {
    "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade",
}
BODILESS = (204, 304)


class Failed(Exception):
    """The server did not do what the case demands."""


@dataclasses.dataclass
class Stream:
    """What came on a stream that this client opened."""

    window: int
    send_window: int
    method: str = "GET"
    interim: list = dataclasses.field(default_factory=list)
    status: int = 0
    fields: list = dataclasses.field(default_factory=list)
    trailers: list = dataclasses.field(default_factory=list)
    body: bytearray = dataclasses.field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None

    def field(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key == name), None)


class Connection:
    """A connection on which preface and SETTINGS are still to be sent."""

    def __init__(self, sock: socket.socket, scheme: str, target):
        self.sock = sock
        self.scheme = scheme
        self.target = target
        # In the path of requests that must not reach the target.
        self.mark = ""
        # Whether windows are kept open for what comes, and SETTINGS and PING acknowledged.
        self.refills = True
        self.acknowledges = True
        # Whether acknowledgements are counted: not where SETTINGS are sent as plain bytes.
        self.counts_settings = True
        # Whether what conformance/deviations.py says is put up with.
        self.deviates = False
        self.decoder = hpack.Decoder()
        self.streams: dict[int, Stream] = {}
        self.settings: dict[int, int] = {}
        self.acknowledged = 0
        self.pongs: list[bytes] = []
        self.goaways: list[hf.GoAwayFrame] = []
        # How the server ended it: "closed", "reset", or not yet.
        self.end = ""
        self.window = self.send_window = wire.WINDOW_DEFAULT
        self.initial_window = wire.WINDOW_DEFAULT
        self.frame_max = wire.FRAME_DEFAULT
        self._pending_windows: list[int | None] = []
        self._buffer = bytearray()
        self._block: tuple[int, bool, bytearray] | None = None
        self._next = 1
        self._greeted = False

    # ------------------------------------------------------------------------------------- sending

    def send(self, *parts: bytes) -> None:
        """Sends bytes as they are. What cannot be sent any more is no error: see `end`."""
        self.sock.settimeout(DEADLINE_SECONDS)
        try:
            self.sock.sendall(b"".join(parts))
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass
        except TimeoutError:
            raise Failed("the server reads nothing any more") from None

    def greet(self, *pairs: tuple[int, int]) -> None:
        """Preface and SETTINGS, and all that the server says to them."""
        self.send(wire.PREFACE)
        self.announce(*pairs)
        self.read_until(lambda: self.settings_known() and self.acknowledged)
        if not self.acknowledged:
            raise Failed(f"no SETTINGS and acknowledgement: {self.fate()}")

    def announce(self, *pairs: tuple[int, int]) -> None:
        """SETTINGS, of which the referee knows."""
        window = None
        for key, value in pairs:
            if key == wire.INITIAL_WINDOW_SIZE:
                window = value
            if key == wire.MAX_FRAME_SIZE:
                self.frame_max = max(self.frame_max, value)
            if key == wire.HEADER_TABLE_SIZE:
                self.decoder.max_allowed_table_size = value
        # What it allows may come at once; what it forbids, only once the server knows of it.
        if window is not None and window > self.initial_window:
            self._move_windows(window)
            window = None
        self._pending_windows.append(window)
        self.send(wire.settings(*pairs))

    def _move_windows(self, initial: int) -> None:
        for stream in self.streams.values():
            stream.window += initial - self.initial_window
        self.initial_window = initial

    def open(self, method: str = "GET") -> int:
        """The number of a new stream, of which the referee knows."""
        number, self._next = self._next, self._next + 2
        self.expect_on(number, method)
        return number

    def expect_on(self, number: int, method: str = "GET") -> None:
        initial = self.settings.get(wire.INITIAL_WINDOW_SIZE, wire.WINDOW_DEFAULT)
        self.streams[number] = Stream(self.initial_window, initial, method)
        self._next = max(self._next, number + 2)

    def path(self, path: str = "/head") -> str:
        return f"{path}?{self.mark}"

    def fields(self, method="GET", path=None, extra=(), without=(), **pseudo: str) -> list:
        """The fields of a request; `extra` follow, `without` names those that are missing."""
        values = {
            ":method": method,
            ":scheme": self.scheme,
            ":authority": "localhost",
            ":path": self.path() if path is None else path,
        }
        values |= {f":{name}": value for name, value in pseudo.items()}
        return [(name, value) for name, value in values.items() if name not in without] + [*extra]

    def request(self, method="GET", path=None, extra=(), end=True, **more) -> int:
        """Sends the head of a request; the number of its stream."""
        number = self.open(method)
        self.send(wire.headers(number, self.block(method, path, extra, **more), end))
        return number

    def block(self, method="GET", path=None, extra=(), **more) -> bytes:
        return wire.block(self.fields(method, path, extra, **more))

    def get(self, path: str = "/") -> Stream:
        """A whole exchange."""
        return self.response(self.request(path=path))

    def credit(self, number: int, increment: int) -> None:
        """WINDOW_UPDATE, of which the referee knows."""
        if number == 0:
            self.window += increment
        else:
            self.streams[number].window += increment
        self.send(wire.window_update(number, increment))

    def upload(self, number: int, length: int, end: bool = True, may_stop: bool = False) -> None:
        """Sends so many bytes of a body, as the windows of the server allow; perhaps no more than
        until the stream ends."""
        stream = self.streams[number]
        while length and not (may_stop and (stream.ended or stream.reset is not None)):
            room = min(length, wire.FRAME_DEFAULT, stream.send_window, self.send_window)
            if room <= 0:
                known = stream.send_window, self.send_window
                self.read_until(
                    lambda: min(stream.send_window, self.send_window) > 0
                    or stream.reset is not None
                    or (may_stop and stream.ended)
                )
                stopped = may_stop and (stream.ended or stream.reset is not None)
                if min(stream.send_window, self.send_window) <= 0 and not stopped:
                    raise Failed(f"windows stay at {known} with {length} bytes to send")
                continue
            length -= room
            stream.send_window -= room
            self.send_window -= room
            self.send(wire.data(number, b"u" * room, end and not length))

    def pour(self, chunk: bytes, times: int, reads: bool = True) -> str:
        """Sends `chunk` so often, as fast as the server takes it, and reads meanwhile unless told
        not to; but answers nothing, now and later. How it went: "sent" whole, "ended" by the server, which "stalled" otherwise."""
        self.refills = self.acknowledges = self.counts_settings = False
        self.sock.setblocking(False)
        left, view = times, memoryview(chunk)
        moved = time.monotonic()
        while left:
            try:
                view = view[self.sock.send(view) :]
                moved = time.monotonic()
                if not view:
                    left, view = left - 1, memoryview(chunk)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
                if time.monotonic() - moved > STALL_SECONDS:
                    return "stalled"
                select.select([self.sock] if reads else [], [self.sock], [], 0.2)
            except OSError:
                self.read_until(lambda: False, 1)
                self.end = self.end or "reset"
                return "ended"
            if reads and not self.end:
                self._read_ready()
            if self.end:
                return "ended"
        return "sent"

    # ------------------------------------------------------------------------------------- reading

    def read_until(self, holds, seconds: float = DEADLINE_SECONDS) -> bool:
        """Reads frames until `holds()`, the connection ends or the time is over."""
        deadline = time.monotonic() + seconds
        while not holds():
            left = deadline - time.monotonic()
            if self.end or left <= 0:
                return False
            self.sock.settimeout(left)
            try:
                self._take(self.sock.recv(READ_BYTES))
            except TimeoutError:
                return False
            except OSError:
                self.end = "reset"
        return True

    def _read_ready(self) -> None:
        """Reads what is there, on a socket that does not block."""
        try:
            while not self.end:
                self._take(self.sock.recv(READ_BYTES))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            pass
        except OSError:
            self.end = "reset"

    def _take(self, octets: bytes) -> None:
        if not octets:
            self.end = "closed"
        self._buffer += octets
        while len(self._buffer) >= wire.HEAD_BYTES:
            if not self._greeted and self._buffer[3] != wire.SETTINGS:
                raise Failed(f"3.4: it began with {bytes(self._buffer[:24])!r}, not with SETTINGS")
            frame, length = self._head()
            if len(self._buffer) < wire.HEAD_BYTES + length:
                break
            body = memoryview(bytes(self._buffer[wire.HEAD_BYTES : wire.HEAD_BYTES + length]))
            del self._buffer[: wire.HEAD_BYTES + length]
            try:
                frame.parse_body(body)
            except hyperframe.exceptions.HyperframeError as error:
                raise Failed(f"it sent a bad frame, {frame}: {error!r}") from None
            self.receive(frame, length)

    def _head(self) -> tuple[hf.Frame, int]:
        head = memoryview(bytes(self._buffer[: wire.HEAD_BYTES]))
        try:
            frame, length = hf.Frame.parse_frame_header(head)
        except hyperframe.exceptions.HyperframeError as error:
            raise Failed(f"it sent a bad frame head {bytes(head)!r}: {error!r}") from None
        if length > self.frame_max:
            raise Failed(f"4.2: it sent a frame of {length} bytes, more than {self.frame_max}")
        return frame, length

    def receive(self, frame: hf.Frame, length: int) -> None:
        """A frame of the server."""
        if self._block and not isinstance(frame, hf.ContinuationFrame):
            raise Failed(f"6.10: {frame} in the middle of a header block")
        match frame:
            case hf.SettingsFrame():
                self._settings(frame)
            case hf.DataFrame():
                self._data(frame, length)
            case hf.HeadersFrame():
                self._start_block(frame, frame.data)
            case hf.ContinuationFrame():
                self._continue_block(frame)
            case hf.WindowUpdateFrame():
                self._window_update(frame)
            case hf.RstStreamFrame():
                self._stream(frame).reset = frame.error_code
            case hf.PingFrame():
                if "ACK" in frame.flags:
                    self.pongs.append(frame.opaque_data)
                elif self.acknowledges:
                    self.send(wire.frame(wire.PING, wire.ACK, 0, frame.opaque_data))
            case hf.GoAwayFrame():
                self.goaways.append(frame)
            case hf.PushPromiseFrame():
                raise Failed("8.4: it pushes")
            case _:
                pass

    def _stream(self, frame: hf.Frame) -> Stream:
        stream = self.streams.get(frame.stream_id)
        if stream is None:
            raise Failed(f"5.1: {frame} on a stream that nobody opened")
        return stream

    def _settings(self, frame: hf.SettingsFrame) -> None:
        self._greeted = True
        if "ACK" in frame.flags:
            self.acknowledged += 1
            if not self.counts_settings:
                return
            if not self._pending_windows:
                raise Failed("6.5.3: it acknowledges SETTINGS that were not sent")
            window = self._pending_windows.pop(0)
            if window is not None:
                self._move_windows(window)
            return
        if frame.settings.get(wire.ENABLE_PUSH, 0) != 0:
            raise Failed("6.5.2: a server sends SETTINGS_ENABLE_PUSH 1")
        before = self.settings.get(wire.INITIAL_WINDOW_SIZE, wire.WINDOW_DEFAULT)
        self.settings |= frame.settings
        after = self.settings.get(wire.INITIAL_WINDOW_SIZE, wire.WINDOW_DEFAULT)
        for stream in self.streams.values():
            stream.send_window += after - before
        if self.acknowledges:
            self.send(wire.frame(wire.SETTINGS, wire.ACK))

    def settings_known(self) -> bool:
        return self._greeted

    def _window_update(self, frame: hf.WindowUpdateFrame) -> None:
        if frame.stream_id == 0:
            self.send_window += frame.window_increment
        else:
            self._stream(frame).send_window += frame.window_increment

    def _data(self, frame: hf.DataFrame, length: int) -> None:
        stream = self._stream(frame)
        self._may_send(frame, stream)
        if not stream.status:
            raise Failed(f"8.1: DATA before the head of the response on stream {frame.stream_id}")
        stream.body += frame.data
        stream.window -= length
        self.window -= length
        if self.window < 0 or (length and stream.window < 0):
            raise Failed(f"6.9.1: it sent beyond a window: {self.window}, {stream.window}")
        if "END_STREAM" in frame.flags:
            self._end_stream(stream)
        if self.refills and length:
            self.credit(0, length)
            if not stream.ended and stream.reset is None:
                self.credit(frame.stream_id, length)

    @staticmethod
    def _may_send(frame: hf.Frame, stream: Stream) -> None:
        if stream.ended:
            raise Failed(f"5.1: {frame} after END_STREAM")
        if stream.reset is not None:
            raise Failed(f"5.1: {frame} after RST_STREAM")

    def _end_stream(self, stream: Stream) -> None:
        stream.ended = True
        length = stream.field("content-length")
        if stream.method == "HEAD" or stream.status in BODILESS:
            if stream.body:
                raise Failed(f"a body of {len(stream.body)} bytes where there must be none")
        elif length is not None and int(length) != len(stream.body):
            raise Failed(f"8.1.1: {len(stream.body)} bytes of DATA, content-length {length}")

    def _start_block(self, frame: hf.HeadersFrame, fragment: bytes) -> None:
        self._may_send(frame, self._stream(frame))
        self._block = frame.stream_id, "END_STREAM" in frame.flags, bytearray(fragment)
        if "END_HEADERS" in frame.flags:
            self._end_block()

    def _continue_block(self, frame: hf.ContinuationFrame) -> None:
        if not self._block or self._block[0] != frame.stream_id:
            raise Failed(f"6.10: {frame} belongs to no header block")
        self._block[2].extend(frame.data)
        if "END_HEADERS" in frame.flags:
            self._end_block()

    def _end_block(self) -> None:
        number, end, fragment = self._block
        self._block = None
        try:
            fields = self.decoder.decode(bytes(fragment), raw=True)
        except hpack.HPACKError as error:
            raise Failed(f"4.3: it sent a bad header block: {error!r}") from None
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
        check_fields(fields)
        stream = self.streams[number]
        statuses = [value for name, value in fields if name == ":status"]
        if stream.status:
            if statuses or not end:
                raise Failed(f"8.1: trailers with :status or without END_STREAM: {fields}")
            stream.trailers = fields
        elif len(statuses) != 1 or fields[0][0] != ":status" or statuses[0] == "101":
            raise Failed(f"8.3.2: not the head of a response: {fields}")
        elif statuses[0].startswith("1"):
            if end:
                raise Failed("8.1: END_STREAM on an interim response")
            stream.interim.append(fields)
        else:
            stream.status, stream.fields = int(statuses[0]), fields
        if end:
            self._end_stream(stream)

    # --------------------------------------------------------------------------------- expectations

    def _also(self) -> tuple[int, ...]:
        return (wire.PROTOCOL_ERROR,) if self.deviates else ()

    def failed(self) -> bool:
        """The server has told of a connection error."""
        return any(goaway.error_code != wire.NO_ERROR for goaway in self.goaways)

    def fate(self) -> str:
        """What has become of the connection, for messages."""
        told = [error_of(goaway) for goaway in self.goaways]
        return f"connection {self.end or 'open'}, GOAWAY {', '.join(told) or 'none'}"

    def response(self, number: int, status: int = 200) -> Stream:
        """The whole response on this stream."""
        stream = self.streams[number]
        self.read_until(lambda: stream.ended or stream.reset is not None)
        if not stream.ended or stream.status != status:
            raise Failed(
                f"wanted a whole response {status} on stream {number}; came: status "
                f"{stream.status}, {len(stream.body)} bytes, ended {stream.ended}, reset "
                f"{stream.reset}; {self.fate()}"
            )
        return stream

    def pong(self, payload: bytes = b"are you?") -> None:
        """A PING and its acknowledgement: all that was sent before it has been seen."""
        count = self.pongs.count(payload)
        self.send(wire.ping(payload))
        if not self.read_until(lambda: self.pongs.count(payload) > count):
            raise Failed(f"no acknowledgement of a PING; {self.fate()}")

    def alive(self) -> None:
        """The connection goes on: it answers a PING and a request."""
        self.pong()
        if self.goaways:
            raise Failed(f"the connection should go on; {self.fate()}")
        self.get()

    def connection_error(
        self, *codes: int, silent: bool = False, seconds: float = DEADLINE_SECONDS
    ) -> None:
        """GOAWAY with one of these codes and the end of the connection; if it may be silent, the
        end alone will do."""
        wanted = " or ".join(wire.error_name(code) for code in codes)
        if not self.read_until(lambda: False, seconds) and not self.end:
            raise Failed(f"wanted a connection error {wanted}; {self.fate()}")
        if not self.goaways and not silent:
            raise Failed(f"wanted GOAWAY with {wanted} before the end; {self.fate()}")
        if self.goaways and self.goaways[-1].error_code not in codes + self._also():
            raise Failed(f"wanted GOAWAY with {wanted}; {self.fate()}")

    def stream_error(self, number: int, *codes: int) -> None:
        """RST_STREAM with one of these codes, and the connection goes on; or a connection error
        with one of them, which is allowed in its place (5.4.1)."""
        stream = self.streams[number]
        wanted = " or ".join(wire.error_name(code) for code in codes)
        self.read_until(lambda: stream.reset is not None or self.failed())
        if self.end or self.failed():
            self.connection_error(*codes)
            return
        if stream.reset not in codes:
            raise Failed(f"wanted {wanted} on stream {number}; came {stream}; {self.fate()}")
        self.alive()

    def closed_or_ignored(self, number: int) -> None:
        """What was sent on a closed stream is ignored, or an error STREAM_CLOSED: RFC 9113 section
        5.1 leaves the choice."""
        stream = self.streams[number]
        self.send(wire.ping(b"ignored?"))
        self.read_until(lambda: b"ignored?" in self.pongs or self.failed())
        if self.end or self.failed():
            self.connection_error(wire.STREAM_CLOSED, wire.PROTOCOL_ERROR)
        elif stream.reset not in (None, wire.STREAM_CLOSED):
            raise Failed(f"it got {stream}; {self.fate()}")
        else:
            self.alive()

    def malformed(self, number: int, *statuses: int) -> None:
        """The request is treated as malformed (8.1.1): a stream error PROTOCOL_ERROR, a connection
        error, or a response with status 400 or one of `statuses`; and the target never gets it
        whole."""
        stream = self.streams[number]
        self.read_until(lambda: stream.reset is not None or stream.ended or self.failed())
        refused = stream.ended and stream.status in (400, *statuses)
        if self.end or self.failed():
            self.connection_error(wire.PROTOCOL_ERROR)
        elif not refused and stream.reset != wire.PROTOCOL_ERROR:
            raise Failed(f"a malformed request got {stream}; {self.fate()}")
        else:
            self.alive()
        if any(self.mark in path for path in self.target.whole):
            raise Failed("the malformed request reached the target")

    def close(self) -> None:
        self.sock.close()


def error_of(frame: hf.GoAwayFrame) -> str:
    return f"{wire.error_name(frame.error_code)} {frame.additional_data or ''}".strip()


def check_fields(fields: list[tuple[str, str]]) -> None:
    regular = False
    for name, value in fields:
        if name.startswith(":"):
            if regular:
                raise Failed(f"8.3: {name} after a regular field")
        else:
            regular = True
        if name != name.lower():
            raise Failed(f"8.2: upper case in {name}")
        if name in CONNECTION_SPECIFIC:
            raise Failed(f"8.2.2: {name}: {value} in a response")
        if value != value.strip(" \t") or any(octet in value for octet in "\r\n\0"):
            raise Failed(f"8.2.1: the value of {name} is {value!r}")
