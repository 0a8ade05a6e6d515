"""RFC 9113 sections 5.2 and 6.9: flow control, both ways."""

from . import wire
from .connection import Failed
from .frames import held
from .registry import case
from .wire import FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR, WINDOW_DEFAULT, WINDOW_MAX

# More than any window of the server, which it does not raise while nobody reads.
FAR_TOO_MUCH = 64 * 1024 * 1024


def come(c, number: int, length: int) -> None:
    """So many bytes of the response come, and not one more."""
    stream = c.streams[number]
    c.read_until(lambda: len(stream.body) >= length)
    c.pong()
    if len(stream.body) != length:
        raise Failed(f"{len(stream.body)} bytes came where the window allows {length}; {c.fate()}")


# ------------------------------------------------------------------------------- 6.9, malformed


@case("9113-6.9")
def window_update_of_0_on_the_connection(c):
    """An increment of 0 on stream 0 is a connection error PROTOCOL_ERROR."""
    c.send(wire.window_update(0, 0))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.9")
def window_update_of_0_on_a_stream(c):
    """An increment of 0 on a stream is a stream error PROTOCOL_ERROR."""
    with held(c) as number:
        c.send(wire.window_update(number, 0))
        c.stream_error(number, PROTOCOL_ERROR)


@case("9113-6.9")
def window_update_of_bad_length(c):
    """WINDOW_UPDATE of another length than 4 is a connection error FRAME_SIZE_ERROR."""
    c.send(wire.frame(wire.WINDOW_UPDATE, 0, 0, b"\0\0\1"))
    c.connection_error(FRAME_SIZE_ERROR)


@case("9113-6.9.1")
def window_of_the_connection_overflows(c):
    """A window beyond 2^31 - 1 is a connection error FLOW_CONTROL_ERROR."""
    c.send(wire.window_update(0, WINDOW_MAX), wire.window_update(0, WINDOW_MAX))
    c.connection_error(FLOW_CONTROL_ERROR)


@case("9113-6.9.1")
def window_of_a_stream_overflows(c):
    """A stream's window beyond 2^31 - 1 is a stream error FLOW_CONTROL_ERROR."""
    with held(c) as number:
        c.send(wire.window_update(number, WINDOW_MAX), wire.window_update(number, WINDOW_MAX))
        c.stream_error(number, FLOW_CONTROL_ERROR)


@case("9113-6.9.1")
def largest_window(c):
    """A window of just 2^31 - 1 is allowed."""
    c.credit(0, WINDOW_MAX - WINDOW_DEFAULT)
    with held(c) as number:
        c.credit(number, WINDOW_MAX - WINDOW_DEFAULT)
        c.refills = False
        c.target.release()
        c.response(number)
    c.alive()


@case("9113-6.9.2")
def settings_make_a_window_overflow(c):
    """SETTINGS_INITIAL_WINDOW_SIZE that makes a window exceed 2^31 - 1 is a connection error
    FLOW_CONTROL_ERROR."""
    with held(c) as number:
        c.credit(number, WINDOW_MAX - WINDOW_DEFAULT)
        c.announce((wire.INITIAL_WINDOW_SIZE, WINDOW_DEFAULT + 1))
        c.connection_error(FLOW_CONTROL_ERROR)


# ------------------------------------------------------------------- what the server may send


@case("9113-6.9.1", raw=True)
def window_of_0_lets_no_data_pass(server):
    """With an initial window of 0 the head comes, and DATA as WINDOW_UPDATE allows."""
    c = server.greeted((wire.INITIAL_WINDOW_SIZE, 0))
    c.refills = False
    number = c.request(path="/bytes/10")
    c.read_until(lambda: c.streams[number].status)
    come(c, number, 0)
    for length in range(1, 4):
        c.credit(number, 1)
        come(c, number, length)
    c.credit(number, 100)
    c.response(number)


@case("9113-6.9.1")
def window_of_the_connection_is_kept(c):
    """Responses of several streams together stay within the window of the connection."""
    c.refills = False
    numbers = [c.request(path="/bytes/30000") for _ in range(4)]
    c.read_until(lambda: c.window == 0)
    c.pong()
    if c.window != 0:
        raise Failed(f"{c.window} bytes of the window stay unused; {c.fate()}")
    c.credit(0, 100000)
    for number in numbers:
        c.response(number)


@case("9113-6.9.1")
def window_of_a_stream_blocks_no_other(c):
    """A stream whose window is used up does not keep others from being served."""
    c.refills = False
    c.credit(0, 10000000)
    number = c.request(path="/bytes/1000000")
    come(c, number, WINDOW_DEFAULT)
    for _ in range(5):
        c.get("/bytes/60000")
    c.credit(number, 1000000)
    c.response(number)


@case("9113-6.9.2")
def settings_raise_open_windows(c):
    """SETTINGS_INITIAL_WINDOW_SIZE moves the windows of open streams."""
    c.refills = False
    c.credit(0, 1000000)
    number = c.request(path="/bytes/80000")
    come(c, number, WINDOW_DEFAULT)
    c.announce((wire.INITIAL_WINDOW_SIZE, WINDOW_DEFAULT + 5))
    come(c, number, WINDOW_DEFAULT + 5)
    c.announce((wire.INITIAL_WINDOW_SIZE, 100000))
    c.response(number)


@case("9113-6.9.2")
def settings_make_a_window_negative(c):
    """A window may become negative; DATA waits until it is positive again."""
    c.refills = False
    c.credit(0, 1000000)
    number = c.request(path="/bytes/100000")
    come(c, number, WINDOW_DEFAULT)
    before = c.acknowledged
    c.announce((wire.INITIAL_WINDOW_SIZE, 10000))
    c.read_until(lambda: c.acknowledged > before)
    c.credit(number, WINDOW_DEFAULT - 10000)
    come(c, number, WINDOW_DEFAULT)
    c.credit(number, 1)
    come(c, number, WINDOW_DEFAULT + 1)
    c.credit(number, 100000)
    c.response(number)


@case("9113-6.9.1")
def response_of_4_mib(c):
    """A response of many windows arrives whole."""
    if len(c.get("/bytes/4194304").body) != 4194304:
        raise Failed("the body has another length")


@case("9113-6.9.1", raw=True)
def window_of_16_mib(server):
    """A client with large windows and frames gets all at once."""
    c = server.greeted((wire.INITIAL_WINDOW_SIZE, 1 << 24), (wire.MAX_FRAME_SIZE, 1 << 20))
    c.refills = False
    c.credit(0, 1 << 24)
    if len(c.get("/bytes/4194304").body) != 4194304:
        raise Failed("the body has another length")


# -------------------------------------------------------------------- what the client may send


@case("9113-6.9.1")
def upload_of_4_mib(c):
    """WINDOW_UPDATE comes as the target reads: a body of many windows arrives whole."""
    number = c.request("POST", "/head", end=False)
    c.upload(number, 4 * 1024 * 1024)
    if b'"length": 4194304' not in c.response(number).body:
        raise Failed("the body has another length at the target")


@case("9113-5.2.1")
def padding_counts(c):
    """Padding takes of the window and is given back: uploads of mostly padding do not stall."""
    number = c.request("POST", "/head", end=False)
    stream = c.streams[number]
    frame = wire.frame(wire.DATA, wire.PADDED, number, b"\xffx" + bytes(255))
    length = len(frame) - wire.HEAD_BYTES
    for _ in range(2000):
        c.read_until(lambda: min(stream.send_window, c.send_window) >= length)
        if min(stream.send_window, c.send_window) < length:
            raise Failed(f"windows stay at {stream.send_window}, {c.send_window}")
        stream.send_window -= length
        c.send_window -= length
        c.send(frame)
    c.send(wire.data(number, end=True))
    if b'"length": 2000,' not in c.response(number).body.replace(b"}", b","):
        raise Failed("the body has another length at the target")


@case("9113-6.9.1")
def upload_beyond_the_window(c):
    """DATA beyond the window is an error FLOW_CONTROL_ERROR. The target reads nothing here."""
    with held(c, method="POST", end=False) as number:
        sent = 0
        while sent < FAR_TOO_MUCH and not c.end and c.streams[number].reset is None:
            # No more than the socket takes while nobody reads.
            c.send(*[wire.data(number, bytes(wire.FRAME_DEFAULT))] * 4)
            sent += 4 * wire.FRAME_DEFAULT
            c.read_until(lambda: False, 0.01)
        if c.end or c.goaways:
            c.connection_error(FLOW_CONTROL_ERROR)
        elif c.streams[number].reset != FLOW_CONTROL_ERROR:
            raise Failed(f"after {sent} bytes: {c.streams[number]}; {c.fate()}")


@case("9113-6.9")
def reset_uploads_give_back_their_window(c):
    """What came for a reset stream is given back to the window of the connection (also 5.1)."""
    with held(c, method="POST", end=False) as first:
        for _ in range(40):
            number = c.request("POST", "/hold", end=False)
            c.upload(number, WINDOW_DEFAULT, end=False)
            c.send(wire.rst_stream(number))
        c.send(wire.rst_stream(first))
    c.alive()


@case("9113-6.9")
def refused_bodies_give_back_their_window(c):
    """So is what came for a request that was answered without reading its body."""
    for _ in range(40):
        number = c.request("POST", "/fixed", end=False)
        c.upload(number, WINDOW_DEFAULT, end=False, may_stop=True)
        stream = c.streams[number]
        c.read_until(lambda stream=stream: stream.ended or stream.reset is not None)
        if stream.status not in (200, 404):
            raise Failed(f"it got {stream}; {c.fate()}")
        if stream.reset is None:
            c.send(wire.rst_stream(number))
    c.alive()


@case("9113-6.9.1")
def empty_data_needs_no_window(c):
    """Empty DATA with END_STREAM may be sent when the window is used up; the slow target holds
    back its own stream only."""
    with held(c, method="POST", end=False) as number:
        stream = c.streams[number]
        while stream.send_window > 0 and c.send_window > wire.FRAME_DEFAULT:
            size = min(stream.send_window, wire.FRAME_DEFAULT)
            c.upload(number, size, end=False)
            c.read_until(lambda: False, 0.01)
            if len(stream.body) > FAR_TOO_MUCH:
                raise Failed("the window is without an end")
        c.send(wire.data(number, end=True))
        c.alive()
    c.response(number)
