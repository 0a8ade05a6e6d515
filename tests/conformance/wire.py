"""The bytes of HTTP/2: frames as they are, also bad ones, and fields in HPACK without a table."""

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
PRIORITY_UPDATE = 16
# A type that nobody has defined.
UNKNOWN = 0xBB

END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM = 4, 5, 6, 7
CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = 8, 9, 10, 11
ERRORS = (
    "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED "
    "FRAME_SIZE_ERROR REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM "
    "INADEQUATE_SECURITY HTTP_1_1_REQUIRED"
).split()

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 1, 2, 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 4, 5, 6
ENABLE_CONNECT_PROTOCOL = 8

WINDOW_MAX = 2**31 - 1
WINDOW_DEFAULT = 65535
FRAME_DEFAULT = 16384
FRAME_MAX = 2**24 - 1
HEAD_BYTES = 9

_huffman = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


def error_name(code: int) -> str:
    return ERRORS[code] if code < len(ERRORS) else hex(code)


# ------------------------------------------------------------------------------------------ frames


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs)
    return frame(SETTINGS, 0, 0, payload)


def ping(payload: bytes = b"12345678") -> bytes:
    return frame(PING, 0, 0, payload)


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def rst_stream(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last: int = 0, code: int = NO_ERROR, debug: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + debug)


def dependency(on: int, weight: int = 15, exclusive: bool = False) -> bytes:
    """What a PRIORITY frame carries, and HEADERS may."""
    return (on | (exclusive << 31)).to_bytes(4, "big") + bytes([weight])


def priority(stream: int, on: int = 0) -> bytes:
    return frame(PRIORITY, 0, stream, dependency(on))


def headers(stream: int, block: bytes, end: bool = True, more: bool = False) -> bytes:
    """HEADERS; with `more`, CONTINUATION is to follow."""
    flags = (END_STREAM if end else 0) | (0 if more else END_HEADERS)
    return frame(HEADERS, flags, stream, block)


def continuation(stream: int, block: bytes, last: bool = True) -> bytes:
    return frame(CONTINUATION, END_HEADERS if last else 0, stream, block)


def data(stream: int, payload: bytes = b"", end: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream, payload)


# ------------------------------------------------------------------------------------------- HPACK


def as_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def integer(value: int, prefix: int, first: int = 0) -> bytes:
    """An integer with a prefix of so many bits, in an octet that begins with `first`."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    octets, value = [first | most], value - most
    while value >= 128:
        octets.append(value % 128 | 128)
        value //= 128
    return bytes([*octets, value])


def string(text: str | bytes, huffman: bool = False) -> bytes:
    octets = as_bytes(text)
    if huffman:
        octets = _huffman.encode(octets)
    return integer(len(octets), 7, 0x80 if huffman else 0) + octets


def indexed(index: int) -> bytes:
    return integer(index, 7, 0x80)


# How a literal begins, and how many bits its index has.
KEPT, NOT_KEPT, NEVER_KEPT = (0x40, 6), (0x00, 4), (0x10, 4)


def literal(name: str | bytes | int, value: str | bytes, how=NOT_KEPT, huffman=False) -> bytes:
    """A literal field, whose name is text or an index."""
    first, prefix = how
    if isinstance(name, int):
        return integer(name, prefix, first) + string(value, huffman)
    return bytes([first]) + string(name, huffman) + string(value, huffman)


def table_size(size: int) -> bytes:
    """A dynamic table size update."""
    return integer(size, 5, 0x20)


def block(fields) -> bytes:
    """A header block of literals that no table keeps, whatever is wrong with them."""
    return b"".join(literal(name, value) for name, value in fields)
