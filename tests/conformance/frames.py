"""RFC 9113 sections 4 to 6 but flow control: frames, streams, and the rules of each frame type."""

from . import wire
from .connection import Failed
from .registry import case
from .wire import FRAME_SIZE_ERROR, PROTOCOL_ERROR, STREAM_CLOSED


# ------------------------------------------------------------------------------------- 4.1, 4.2


@case("9113-4.1")
def unknown_type_is_ignored(c):
    """Frames of unknown types are ignored, on the connection and on a stream."""
    with held(c) as number:
        c.send(wire.frame(wire.UNKNOWN, 0xFF, 0, b"abc"), wire.frame(wire.UNKNOWN, 0, number))
        c.target.release()
        c.response(number)
    c.alive()


@case("9113-4.1")
def unknown_flags_are_ignored(c):
    """Flags without a meaning for a type are ignored."""
    c.send(wire.frame(wire.PING, 0xFE, 0, b"flagged!"))
    c.read_until(lambda: b"flagged!" in c.pongs)
    number = c.open()
    c.send(wire.frame(wire.HEADERS, 0xD0 | 0x05, number, c.block(path="/")))
    c.response(number)
    c.alive()


@case("9113-4.1")
def reserved_bit_is_ignored(c):
    """The reserved bit of the stream identifier is ignored."""
    number = c.open()
    c.send(wire.frame(wire.HEADERS, 0x05, number | 1 << 31, c.block(path="/")))
    c.response(number)
    c.send(wire.frame(wire.PING, 0, 1 << 31, b"reserved"))
    c.alive()


@case("9113-4.2")
def frame_of_16384_bytes(c):
    """Every server takes frames of 16,384 bytes."""
    number = c.request("POST", "/echo", end=False)
    c.send(wire.data(number, b"x" * wire.FRAME_DEFAULT, end=True))
    if len(c.response(number).body) != wire.FRAME_DEFAULT:
        raise Failed("the body has another length")


@case("9113-4.2")
def data_too_long(c):
    """DATA beyond SETTINGS_MAX_FRAME_SIZE is an error FRAME_SIZE_ERROR."""
    if frame_max(c) == wire.FRAME_MAX:
        return
    number = c.request("POST", end=False)
    c.send(wire.data(number, b"x" * (frame_max(c) + 1), end=True))
    c.stream_error(number, FRAME_SIZE_ERROR)


@case("9113-4.2")
def headers_too_long(c):
    """HEADERS beyond SETTINGS_MAX_FRAME_SIZE is a connection error FRAME_SIZE_ERROR."""
    if frame_max(c) == wire.FRAME_MAX:
        return
    fields = [("x-long", "a" * 4000)] * (frame_max(c) // 4000 + 1)
    c.send(wire.headers(c.open(), c.block(extra=fields)))
    c.connection_error(FRAME_SIZE_ERROR)


@case("9113-4.2")
def settings_too_long(c):
    """SETTINGS beyond SETTINGS_MAX_FRAME_SIZE is a connection error FRAME_SIZE_ERROR."""
    if frame_max(c) == wire.FRAME_MAX:
        return
    c.send(wire.settings(*[(0x99, 0)] * (frame_max(c) // 6 + 1)))
    c.connection_error(FRAME_SIZE_ERROR)


@case("9113-4.2")
def continuation_too_long(c):
    """CONTINUATION beyond SETTINGS_MAX_FRAME_SIZE is a connection error FRAME_SIZE_ERROR."""
    if frame_max(c) == wire.FRAME_MAX:
        return
    number = c.open()
    c.send(wire.headers(number, c.block(), more=True))
    c.send(wire.continuation(number, wire.literal("x", "a" * frame_max(c))))
    c.connection_error(FRAME_SIZE_ERROR)


def frame_max(c) -> int:
    return c.settings.get(wire.MAX_FRAME_SIZE, wire.FRAME_DEFAULT)


# ------------------------------------------------------------------------------------------- 4.3


@case("9113-4.3")
def bad_header_block(c):
    """A header block that cannot be decoded is a connection error COMPRESSION_ERROR."""
    c.send(wire.headers(c.open(), b"\xff\xff\xff\xff\xff\xff"))
    c.connection_error(wire.COMPRESSION_ERROR)


def interrupted(c, *frames: bytes) -> None:
    block = c.block()
    number = c.open()
    c.send(wire.headers(number, block[:10], more=True), *frames)
    c.send(wire.continuation(number, block[10:]))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-4.3")
def header_block_interrupted_by_priority(c):
    """Between HEADERS and its CONTINUATION nothing may come: PROTOCOL_ERROR."""
    interrupted(c, wire.priority(c._next))


@case("9113-4.3")
def header_block_interrupted_by_ping(c):
    """Nor a frame of the connection: PROTOCOL_ERROR."""
    interrupted(c, wire.ping())


@case("9113-4.3")
def header_block_interrupted_by_data(c):
    """Nor DATA of another stream: PROTOCOL_ERROR."""
    number = c.request("POST", "/", end=False)
    interrupted(c, wire.data(number, b"x"))


@case("9113-4.3")
def header_block_interrupted_by_headers(c):
    """Nor HEADERS of another stream: PROTOCOL_ERROR."""
    interrupted(c, wire.headers(c._next + 2, c.block()))


@case("9113-5.5")
def header_block_interrupted_by_unknown(c):
    """Nor a frame of an unknown type: PROTOCOL_ERROR."""
    interrupted(c, wire.frame(wire.UNKNOWN, 0, 0, b"abc"))


@case("9113-4.3")
def header_block_in_pieces(c):
    """A header block may be cut anywhere, also into empty pieces."""
    block = c.block(path="/")
    number = c.open()
    c.send(wire.headers(number, b"", more=True))
    for piece in (block[:1], block[1:2], b"", block[2:30]):
        c.send(wire.continuation(number, piece, last=False))
    c.send(wire.continuation(number, block[30:]))
    c.response(number)
    c.alive()


# ------------------------------------------------------------------------------------------- 5.1


@case("9113-5.1")
def idle_data(c):
    """DATA on an idle stream is a connection error PROTOCOL_ERROR."""
    c.send(wire.data(1, b"x", end=True))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-5.1")
def idle_rst_stream(c):
    """RST_STREAM on an idle stream is a connection error PROTOCOL_ERROR (also 6.4)."""
    c.send(wire.rst_stream(1))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-5.1")
def idle_window_update(c):
    """WINDOW_UPDATE on an idle stream is a connection error PROTOCOL_ERROR."""
    c.send(wire.window_update(1, 100))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-5.1")
def idle_continuation(c):
    """CONTINUATION on an idle stream is a connection error PROTOCOL_ERROR."""
    c.send(wire.continuation(1, c.block()))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-5.1")
def idle_priority(c):
    """PRIORITY on an idle stream is allowed."""
    c.send(wire.priority(1), wire.priority(9))
    c.alive()


@case("9113-5.1")
def half_closed_data(c):
    """DATA after END_STREAM is a stream error STREAM_CLOSED."""
    with held(c) as number:
        c.send(wire.data(number, b"x"))
        c.stream_error(number, STREAM_CLOSED)


@case("9113-5.1")
def half_closed_headers(c):
    """HEADERS after END_STREAM is a stream error STREAM_CLOSED."""
    with held(c) as number:
        c.send(wire.headers(number, c.block()))
        c.stream_error(number, STREAM_CLOSED)


@case("9113-5.1")
def half_closed_continuation(c):
    """CONTINUATION after END_HEADERS is a connection error PROTOCOL_ERROR."""
    with held(c) as number:
        c.send(wire.continuation(number, c.block()))
        c.connection_error(PROTOCOL_ERROR, STREAM_CLOSED)


@case("9113-5.1")
def half_closed_window_update_and_priority(c):
    """WINDOW_UPDATE and PRIORITY after END_STREAM are allowed."""
    with held(c) as number:
        c.credit(number, 1000)
        c.send(wire.priority(number))
        c.pong()
        c.target.release()
        c.response(number)


@case("9113-5.1")
def half_closed_rst_stream(c):
    """RST_STREAM after END_STREAM is allowed, and ends the stream without an answer."""
    with held(c) as number:
        c.send(wire.rst_stream(number))
        c.alive()
        c.target.release()
        c.alive()
        stream = c.streams[number]
        if stream.status or stream.reset is not None:
            raise Failed(f"5.4.2: after its RST_STREAM came {stream}")


class held:
    """A stream whose request is whole, and whose response does not come before the end."""

    def __init__(self, c, path="/hold", **more):
        self.c, self.path, self.more = c, path, more

    def __enter__(self) -> int:
        self.c.target.hold()
        return self.c.request(path=self.path, **self.more)

    def __exit__(self, *_: object) -> None:
        self.c.target.release()


@case("9113-5.1")
def reset_then_data(c):
    """DATA after one's own RST_STREAM is ignored or an error STREAM_CLOSED."""
    number = c.request("POST", "/hold", end=False)
    c.send(wire.rst_stream(number), wire.data(number, b"x"))
    c.closed_or_ignored(number)


@case("9113-5.1")
def reset_then_headers(c):
    """HEADERS after one's own RST_STREAM is ignored or an error STREAM_CLOSED."""
    number = c.request("POST", end=False)
    c.send(wire.rst_stream(number), wire.headers(number, c.block()))
    c.closed_or_ignored(number)
    if any(c.mark in path for path in c.target.whole):
        raise Failed("it reached the target")


@case("9113-5.1")
def closed_data(c):
    """DATA on a stream that both ends have ended is ignored or an error STREAM_CLOSED."""
    number = c.request(path="/")
    c.response(number)
    c.send(wire.data(number, b"x"))
    c.closed_or_ignored(number)


@case("9113-5.1")
def closed_headers(c):
    """HEADERS on a stream that both ends have ended is ignored or an error STREAM_CLOSED; it is
    never another request."""
    number = c.request(path="/")
    c.response(number)
    c.send(wire.headers(number, c.block()))
    c.closed_or_ignored(number)
    if any(c.mark in path for path in c.target.whole):
        raise Failed("it reached the target")


@case("9113-5.1")
def closed_window_update_rst_stream_priority(c):
    """WINDOW_UPDATE, RST_STREAM and PRIORITY may cross the end of a stream."""
    number = c.request(path="/")
    c.response(number)
    c.credit(number, 1000)
    c.send(wire.rst_stream(number), wire.priority(number))
    c.alive()


@case("9113-5.1.1")
def even_stream(c):
    """A client's stream with an even number is a connection error PROTOCOL_ERROR."""
    c.send(wire.headers(2, c.block()))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-5.1.1")
def numbers_must_grow(c):
    """A new stream with a smaller number than the last is a connection error PROTOCOL_ERROR."""
    c.expect_on(5)
    c.send(wire.headers(5, c.block(path="/")))
    c.response(5)
    c.send(wire.headers(3, c.block()))
    c.connection_error(PROTOCOL_ERROR, STREAM_CLOSED)


@case("9113-5.1.1")
def numbers_may_be_left_out(c):
    """A client may leave numbers out."""
    c.expect_on(101)
    c.send(wire.headers(101, c.block(path="/")))
    c.response(101)
    c.alive()


@case("9113-5.1.1")
def last_number(c):
    """The highest number, 2^31 - 1, is a stream like any other."""
    number = 2**31 - 1
    c.expect_on(number)
    c.send(wire.headers(number, c.block(path="/")))
    c.response(number)
    c.pong()


@case("9113-5.1.2")
def too_many_streams(c):
    """A stream beyond SETTINGS_MAX_CONCURRENT_STREAMS is an error REFUSED_STREAM or
    PROTOCOL_ERROR."""
    most = c.settings.get(wire.MAX_CONCURRENT_STREAMS)
    if most is None:
        raise Failed("SETTINGS_MAX_CONCURRENT_STREAMS is not sent")
    with held(c):
        for _ in range(most - 1):
            c.request(path="/hold")
        c.pong()
        c.stream_beyond = c.request(path="/hold")
        c.read_until(lambda: c.streams[c.stream_beyond].reset is not None)
        c.target.release()
        within = [stream for number, stream in c.streams.items() if number != c.stream_beyond]
        c.read_until(lambda: c.failed() or all(stream.ended for stream in within))
        c.stream_error(c.stream_beyond, wire.REFUSED_STREAM, PROTOCOL_ERROR)


@case("9113-5.1.2", ours=True)
def too_many_streams_harm_no_other(c):
    """It is refused alone: those within the limit are served, and then there is room again."""
    too_many_streams(c)
    del c.streams[c.stream_beyond]
    for number in c.streams:
        c.response(number)
    c.alive()


@case("9113-5.1.2", ours=True)
def concurrent_streams_are_128(c):
    """At least 100 streams are recommended (6.5.2); we promise 128, as AWS."""
    most = c.settings.get(wire.MAX_CONCURRENT_STREAMS)
    if most != 128:
        raise Failed(f"SETTINGS_MAX_CONCURRENT_STREAMS is {most}")


@case("9113-5.3.2")
def priority_is_ignored(c):
    """Priorities are deprecated: whatever they say, all is served."""
    number = c.open()
    flags = wire.END_STREAM | wire.END_HEADERS | wire.WITH_PRIORITY
    block = wire.dependency(11, 255, exclusive=True) + c.block(path="/")
    c.send(wire.priority(7, 9), wire.priority(9, 7))
    c.send(wire.frame(wire.HEADERS, flags, number, block))
    c.response(number)
    c.alive()


@case("9113-5.3.2")
def priority_on_itself(c):
    """A stream that depends on itself was a stream error PROTOCOL_ERROR once and is nothing now."""
    with held(c) as number:
        c.send(wire.priority(number, number))
        c.target.release()
        stream = c.streams[number]
        c.read_until(lambda: stream.ended or stream.reset is not None)
        if stream.reset == PROTOCOL_ERROR or c.end:
            c.stream_error(number, PROTOCOL_ERROR)
        else:
            c.response(number)
            c.alive()


@case("9218-7.1")
def priority_update_is_ignored_or_known(c):
    """PRIORITY_UPDATE (RFC 9218) on stream 0 and the field `priority` do no harm."""
    c.send(wire.frame(wire.PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1, i"))
    c.response(c.request(path="/", extra=[("priority", "u=3, i")]))
    c.alive()


@case("9113-5.4.1")
def goaway_names_the_last_stream(c):
    """GOAWAY of a connection error names the last stream that may have been acted upon."""
    number = c.request(path="/")
    c.response(number)
    c.send(wire.frame(wire.PING, 0, 0, b"short"))
    c.connection_error(FRAME_SIZE_ERROR)
    if c.goaways[-1].last_stream_id != number:
        raise Failed(f"last stream {c.goaways[-1].last_stream_id}, not {number}")


# ------------------------------------------------------------------------------------ 6.1 DATA


@case("9113-6.1")
def data_on_stream_0(c):
    """DATA on stream 0 is a connection error PROTOCOL_ERROR."""
    c.send(wire.data(0, b"x"))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.1")
def data_with_too_much_padding(c):
    """Padding as long as the frame is a connection error PROTOCOL_ERROR."""
    number = c.request("POST", end=False)
    c.send(wire.frame(wire.DATA, wire.PADDED, number, b"\x06abcde"))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.1")
def data_without_its_pad_length(c):
    """PADDED on an empty frame is a connection error FRAME_SIZE_ERROR or PROTOCOL_ERROR."""
    number = c.request("POST", end=False)
    c.send(wire.frame(wire.DATA, wire.PADDED, number))
    c.connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR)


@case("9113-6.1")
def data_with_padding(c):
    """Padding is taken away, also where there is nothing else."""
    number = c.request("POST", "/echo", end=False)
    c.send(wire.frame(wire.DATA, wire.PADDED, number, b"\x03abc\0\0\0"))
    c.send(wire.frame(wire.DATA, wire.PADDED, number, b"\x00def"))
    c.send(wire.frame(wire.DATA, wire.PADDED | wire.END_STREAM, number, b"\xff" + bytes(255)))
    body = c.response(number).body
    if body != b"abcdef":
        raise Failed(f"the body is {body!r}")


@case("9113-6.1")
def data_empty(c):
    """Empty DATA is allowed, and may end the stream."""
    number = c.request("POST", "/echo", end=False)
    c.send(wire.data(number), wire.data(number, b"abc"), wire.data(number, end=True))
    body = c.response(number).body
    if body != b"abc":
        raise Failed(f"the body is {body!r}")


# --------------------------------------------------------------------------------- 6.2 HEADERS


@case("9113-6.2")
def headers_on_stream_0(c):
    """HEADERS on stream 0 is a connection error PROTOCOL_ERROR."""
    c.send(wire.headers(0, c.block()))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.2")
def headers_with_too_much_padding(c):
    """Padding that leaves no room for the header block is a connection error PROTOCOL_ERROR."""
    block = c.block()
    payload = bytes([len(block) + 1]) + block
    c.send(wire.frame(wire.HEADERS, wire.PADDED | 0x05, c.open(), payload))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.2")
def headers_without_pad_length(c):
    """PADDED on an empty frame is a connection error FRAME_SIZE_ERROR or PROTOCOL_ERROR."""
    c.send(wire.frame(wire.HEADERS, wire.PADDED | 0x05, c.open()))
    c.connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR)


@case("9113-6.2")
def headers_without_their_priority(c):
    """PRIORITY on a frame too short for it is a connection error FRAME_SIZE_ERROR or
    PROTOCOL_ERROR."""
    c.send(wire.frame(wire.HEADERS, wire.WITH_PRIORITY | 0x05, c.open(), b"\0\0"))
    c.connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR)


@case("9113-6.2")
def headers_with_padding_and_priority(c):
    """Padding and priority may come together."""
    number = c.open()
    flags = wire.PADDED | wire.WITH_PRIORITY | wire.END_HEADERS | wire.END_STREAM
    payload = b"\x07" + wire.dependency(0) + c.block(path="/") + bytes(7)
    c.send(wire.frame(wire.HEADERS, flags, number, payload))
    c.response(number)
    c.alive()


# ------------------------------------------------------------------- 6.3 PRIORITY, 6.4 RST_STREAM


@case("9113-6.3")
def priority_on_stream_0(c):
    """PRIORITY on stream 0 is a connection error PROTOCOL_ERROR."""
    c.send(wire.priority(0))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.3")
def priority_of_bad_length(c):
    """PRIORITY of another length than 5 is a stream error FRAME_SIZE_ERROR."""
    with held(c) as number:
        c.send(wire.frame(wire.PRIORITY, 0, number, b"\0\0\0\0"))
        c.stream_error(number, FRAME_SIZE_ERROR)


@case("9113-6.4")
def rst_stream_on_stream_0(c):
    """RST_STREAM on stream 0 is a connection error PROTOCOL_ERROR."""
    c.send(wire.rst_stream(0))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.4")
def rst_stream_of_bad_length(c):
    """RST_STREAM of another length than 4 is a connection error FRAME_SIZE_ERROR."""
    with held(c) as number:
        c.send(wire.frame(wire.RST_STREAM, 0, number, b"\0\0\0"))
        c.connection_error(FRAME_SIZE_ERROR)


@case("9113-7")
def rst_stream_with_unknown_code(c):
    """Unknown error codes have no special meaning."""
    number = c.request(path="/hold", method="POST", end=False)
    c.send(wire.rst_stream(number, 0xDEADBEEF))
    c.alive()


@case("9113-5.1.2")
def reset_streams_make_room(c):
    """A reset stream does not count as open any more."""
    most = c.settings.get(wire.MAX_CONCURRENT_STREAMS, 100)
    with held(c) as number:
        numbers = [number] + [c.request(path="/hold") for _ in range(most // 2)]
        c.pong()
        for number in numbers:
            c.send(wire.rst_stream(number))
        c.pong()
        held_ones = [c.request(path="/hold") for _ in range(most)]
        c.pong()
        refused = [n for n in held_ones if c.streams[n].reset is not None]
        if refused:
            raise Failed(f"{len(refused)} of {most} streams are refused")
    for number in held_ones:
        c.response(number)


# -------------------------------------------------------------------------------- 6.5 SETTINGS


@case("9113-6.5")
def settings_ack_with_payload(c):
    """An acknowledgement with a payload is a connection error FRAME_SIZE_ERROR."""
    c.send(wire.frame(wire.SETTINGS, wire.ACK, 0, b"\0\x01\0\0\x10\0"))
    c.connection_error(FRAME_SIZE_ERROR)


@case("9113-6.5")
def settings_on_a_stream(c):
    """SETTINGS on another stream than 0 is a connection error PROTOCOL_ERROR."""
    c.send(wire.frame(wire.SETTINGS, 0, 1))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.5")
def settings_of_bad_length(c):
    """A length that is no multiple of 6 is a connection error FRAME_SIZE_ERROR."""
    c.send(wire.frame(wire.SETTINGS, 0, 0, b"\0\x03\0"))
    c.connection_error(FRAME_SIZE_ERROR)


@case("9113-6.5.2")
def settings_enable_push_of_2(c):
    """SETTINGS_ENABLE_PUSH other than 0 or 1 is a connection error PROTOCOL_ERROR."""
    c.send(wire.settings((wire.ENABLE_PUSH, 2)))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.5.2")
def settings_initial_window_too_large(c):
    """SETTINGS_INITIAL_WINDOW_SIZE beyond 2^31 - 1 is a connection error FLOW_CONTROL_ERROR."""
    c.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 1 << 31)))
    c.connection_error(wire.FLOW_CONTROL_ERROR)


@case("9113-6.5.2")
def settings_max_frame_size_too_small(c):
    """SETTINGS_MAX_FRAME_SIZE below 16,384 is a connection error PROTOCOL_ERROR."""
    c.send(wire.settings((wire.MAX_FRAME_SIZE, wire.FRAME_DEFAULT - 1)))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.5.2")
def settings_max_frame_size_too_large(c):
    """SETTINGS_MAX_FRAME_SIZE beyond 2^24 - 1 is a connection error PROTOCOL_ERROR."""
    c.send(wire.settings((wire.MAX_FRAME_SIZE, 1 << 24)))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.5.2")
def settings_max_frame_size_is_kept(c):
    """Frames are no longer than SETTINGS_MAX_FRAME_SIZE, and all arrives."""
    c.announce((wire.MAX_FRAME_SIZE, wire.FRAME_DEFAULT))
    if len(c.get("/bytes/300000").body) != 300000:
        raise Failed("the body has another length")


@case("9113-6.5.2")
def settings_unknown_is_ignored(c):
    """Unknown settings are ignored, and acknowledged."""
    before = c.acknowledged
    c.announce((0xFFFF, 0xFFFFFFFF), (0, 1))
    c.read_until(lambda: c.acknowledged > before)
    c.alive()


@case("9113-6.5.2")
def settings_header_table_of_0(c):
    """With SETTINGS_HEADER_TABLE_SIZE 0 the server refers to no dynamic entry."""
    c.announce((wire.HEADER_TABLE_SIZE, 0))
    for _ in range(3):
        c.get("/head")
    if c.decoder.header_table_size != 0:
        raise Failed(f"its table has {c.decoder.header_table_size} bytes (RFC 7541 section 4.2)")


@case("9113-6.5.2")
def settings_header_table_of_4_gib(c):
    """SETTINGS_HEADER_TABLE_SIZE of 2^32 - 1 is allowed, and need not be used."""
    c.announce((wire.HEADER_TABLE_SIZE, 2**32 - 1))
    for _ in range(3):
        c.get("/head")


@case("9113-6.5.3")
def settings_are_all_acknowledged(c):
    """Each SETTINGS is acknowledged; of the same one twice in a frame the last counts."""
    before = c.acknowledged
    c.announce((wire.INITIAL_WINDOW_SIZE, 0), (wire.INITIAL_WINDOW_SIZE, 100))
    for size in range(20):
        c.announce((wire.INITIAL_WINDOW_SIZE, 100 + size))
    c.read_until(lambda: c.acknowledged == before + 21)
    if c.acknowledged != before + 21:
        raise Failed(f"{c.acknowledged - before} of 21 acknowledged; {c.fate()}")
    c.get("/bytes/1000")


# ------------------------------------------------------- 6.6 PUSH_PROMISE, 6.7 PING, 6.8 GOAWAY


@case("9113-6.6")
def push_promise_of_a_client(c):
    """PUSH_PROMISE from a client is a connection error PROTOCOL_ERROR."""
    number = c.request("POST", end=False)
    payload = (2).to_bytes(4, "big") + c.block()
    c.send(wire.frame(wire.PUSH_PROMISE, wire.END_HEADERS, number, payload))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.7")
def ping_is_answered(c):
    """PING is answered with the same payload."""
    for payload in (b"\0" * 8, b"\xff" * 8, b"abcdefgh"):
        c.pong(payload)


@case("9113-6.7")
def ping_ack_is_not_answered(c):
    """An acknowledgement is not answered."""
    c.send(wire.frame(wire.PING, wire.ACK, 0, b"ack-only"))
    c.alive()
    if b"ack-only" in c.pongs:
        raise Failed("it is answered")


@case("9113-6.7")
def ping_on_a_stream(c):
    """PING on another stream than 0 is a connection error PROTOCOL_ERROR."""
    c.send(wire.frame(wire.PING, 0, 1, bytes(8)))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.7")
def ping_of_bad_length(c):
    """PING of another length than 8 is a connection error FRAME_SIZE_ERROR."""
    c.send(wire.frame(wire.PING, 0, 0, bytes(6)))
    c.connection_error(FRAME_SIZE_ERROR)


@case("9113-6.7")
def ping_while_a_response_waits_for_its_window(c):
    """PING is answered while responses cannot be sent."""
    c.refills = False
    number = c.request(path="/bytes/1000000")
    c.read_until(lambda: len(c.streams[number].body) == wire.WINDOW_DEFAULT)
    c.pong()


@case("9113-6.8")
def goaway_on_a_stream(c):
    """GOAWAY on another stream than 0 is a connection error PROTOCOL_ERROR."""
    c.send(wire.frame(wire.GOAWAY, 0, 1, bytes(8)))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.8")
def goaway_too_short(c):
    """GOAWAY shorter than 8 is a connection error FRAME_SIZE_ERROR."""
    c.send(wire.frame(wire.GOAWAY, 0, 0, bytes(4)))
    c.connection_error(FRAME_SIZE_ERROR)


@case("9113-6.8")
def goaway_of_the_client(c):
    """After the client's GOAWAY its requests under way are served, and the connection ends."""
    with held(c) as number:
        c.pong()
        c.send(wire.goaway(0, wire.NO_ERROR, b"so long"))
        c.target.release()
        c.response(number)
    c.connection_error(wire.NO_ERROR, silent=True)


# ----------------------------------------------------------------------------- 6.10 CONTINUATION


@case("9113-6.10")
def continuation_on_stream_0(c):
    """CONTINUATION on stream 0 is a connection error PROTOCOL_ERROR."""
    c.send(wire.headers(c.open(), c.block()[:10], more=True))
    c.send(wire.continuation(0, c.block()[10:]))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.10")
def continuation_on_another_stream(c):
    """CONTINUATION on another stream than its HEADERS is a connection error PROTOCOL_ERROR."""
    number = c.open()
    c.send(wire.headers(number, c.block()[:10], more=True))
    c.send(wire.continuation(number + 2, c.block()[10:]))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.10")
def continuation_after_data(c):
    """CONTINUATION after DATA is a connection error PROTOCOL_ERROR."""
    number = c.request("POST", end=False)
    c.send(wire.data(number, b"x"), wire.continuation(number, c.block()))
    c.connection_error(PROTOCOL_ERROR)


@case("9113-6.10")
def continuation_after_the_last_one(c):
    """CONTINUATION after END_HEADERS of another is a connection error PROTOCOL_ERROR."""
    number = c.open()
    block = c.block()
    c.send(wire.headers(number, block[:9], end=False, more=True))
    c.send(wire.continuation(number, block[9:]), wire.continuation(number, c.block()))
    c.connection_error(PROTOCOL_ERROR)
