"""RFC 7541: HPACK."""

import json

from . import wire
from .connection import Failed
from .registry import case
from .wire import COMPRESSION_ERROR, KEPT, NEVER_KEPT, NOT_KEPT

TABLE_SIZE = 4096
# What an entry costs beside its octets (section 4.1).
ENTRY_BYTES = 32


def refused(c, block: bytes) -> None:
    c.send(wire.headers(c.open(), block))
    c.connection_error(COMPRESSION_ERROR)


def arrives(c, block: bytes, **wanted: str) -> None:
    """A request with these fields behind the usual ones arrives with them."""
    number = c.open()
    c.send(wire.headers(number, c.block(path="/head") + block))
    head = json.loads(bytes(c.response(number).body))
    came = {name.lower(): value for name, value in head["fields"]}
    for name, value in wanted.items():
        name = name.replace("_", "-")
        if came.get(name) != value:
            raise Failed(f"{name} arrived as {came.get(name)!r}, not {value!r}")


@case("7541-2.3.3")
def index_0(c):
    """Index 0 is a decoding error."""
    refused(c, c.block() + wire.indexed(0))


@case("7541-2.3.3")
def index_beyond_the_tables(c):
    """An index beyond the static table, with an empty dynamic one, is a decoding error."""
    refused(c, c.block() + wire.indexed(62))


@case("7541-2.3.3")
def index_far_beyond_the_tables(c):
    """So is any that is larger."""
    refused(c, c.block() + wire.indexed(5000))


@case("7541-2.3.3")
def index_of_a_name_beyond_the_tables(c):
    """So is the index of a literal's name."""
    refused(c, c.block() + wire.literal(70, "1"))


@case("7541-A")
def static_table(c):
    """Entries of the static table are known by their index."""
    scheme = 7 if c.scheme == "https" else 6
    number = c.open()
    pseudo = b"".join(map(wire.indexed, (2, scheme, 4))) + wire.literal(1, "localhost")
    c.send(wire.headers(number, pseudo + wire.indexed(16)))
    c.response(number)
    arrives(c, wire.indexed(16), accept_encoding="gzip, deflate")
    arrives(c, wire.literal(58, "me"), user_agent="me")


@case("7541-2.3.2")
def dynamic_table(c):
    """What was kept is known by its index, the newest first, in later blocks, too."""
    arrives(c, wire.literal("x-a", "1", KEPT) + wire.literal("x-b", "2", KEPT), x_a="1", x_b="2")
    arrives(c, wire.indexed(62) + wire.indexed(63), x_a="1", x_b="2")
    arrives(c, wire.literal(63, "other"), x_a="other")
    arrives(c, wire.literal(62, "3", KEPT) + wire.indexed(64), x_b="3", x_a="1")


@case("7541-2.3.2")
def dynamic_table_with_duplicates(c):
    """The same entry may be kept twice, and each counts."""
    arrives(c, wire.literal("x-a", "1", KEPT) * 2 + wire.literal("x-b", "2", KEPT))
    arrives(c, wire.indexed(64), x_a="1")


@case("7541-4.2")
def size_update_in_the_middle(c):
    """A size update that does not begin its block is a decoding error."""
    refused(c, c.block() + wire.table_size(100))


@case("7541-4.2")
def size_update_too_large(c):
    """A size update beyond SETTINGS_HEADER_TABLE_SIZE is a decoding error (also 6.3)."""
    most = c.settings.get(wire.HEADER_TABLE_SIZE, TABLE_SIZE)
    refused(c, wire.table_size(most + 1) + c.block())


@case("7541-6.3")
def size_update_empties_the_table(c):
    """A size of 0 evicts all; a larger one brings nothing back."""
    arrives(c, wire.literal("x-a", "1", KEPT), x_a="1")
    number = c.open()
    c.send(wire.headers(number, wire.table_size(0) + wire.table_size(TABLE_SIZE)
                        + c.block(path="/")))
    c.response(number)
    refused(c, c.block() + wire.indexed(62))


@case("7541-6.3")
def size_update_then_use(c):
    """After size updates the table is used as before."""
    number = c.open()
    kept = wire.literal("x-a", "1", KEPT)
    c.send(wire.headers(number, wire.table_size(100) + c.block(path="/") + kept))
    c.response(number)
    arrives(c, wire.indexed(62), x_a="1")


@case("7541-6.3")
def size_update_evicts(c):
    """A smaller size evicts the oldest entries."""
    kept = wire.literal("x-a", "1", KEPT) + wire.literal("x-b", "2", KEPT)
    arrives(c, kept, x_a="1", x_b="2")
    size = ENTRY_BYTES + len("x-b2")
    number = c.open()
    c.send(wire.headers(number, wire.table_size(size) + c.block(path="/head") + wire.indexed(62)))
    c.response(number)
    refused(c, c.block() + wire.indexed(63))


@case("7541-4.4")
def eviction(c):
    """A new entry evicts as many of the oldest as it needs."""
    value = "v" * (TABLE_SIZE // 4 - ENTRY_BYTES - len("x-1"))
    for n in range(1, 6):
        arrives(c, wire.literal(f"x-{n}", value, KEPT))
    arrives(c, wire.indexed(62) + wire.indexed(65), x_5=value, x_2=value)
    refused(c, c.block() + wire.indexed(66))


@case("7541-4.4")
def entry_larger_than_the_table(c):
    """An entry larger than the table empties it, and is no error."""
    arrives(c, wire.literal("x-a", "1", KEPT), x_a="1")
    arrives(c, wire.literal("x-large", "v" * TABLE_SIZE, KEPT))
    refused(c, c.block() + wire.indexed(62))


@case("7541-4.4")
def entry_named_by_the_one_it_evicts(c):
    """The name may be that of an entry which goes to make room."""
    value = "v" * (TABLE_SIZE - ENTRY_BYTES - len("x-name"))
    arrives(c, wire.literal("x-name", value, KEPT))
    arrives(c, wire.literal(62, "w" * len(value), KEPT), x_name="w" * len(value))
    arrives(c, wire.indexed(62), x_name="w" * len(value))


@case("7541-6.2")
def literals_of_each_kind(c):
    """Literals that are kept, not kept and never kept arrive; only the first is in the table."""
    arrives(
        c,
        wire.literal("x-kept", "1", KEPT)
        + wire.literal("x-not", "2", NOT_KEPT)
        + wire.literal("x-never", "3", NEVER_KEPT),
        x_kept="1",
        x_not="2",
        x_never="3",
    )
    arrives(c, wire.indexed(62), x_kept="1")
    refused(c, c.block() + wire.indexed(63))


@case("7541-5.1")
def integer_too_large(c):
    """An integer beyond any limit is a decoding error."""
    refused(c, c.block() + b"\xff" + b"\xff" * 12 + b"\x7f")


@case("7541-5.1")
def integer_without_an_end(c):
    """An integer whose octets all say that more follow is a decoding error."""
    refused(c, c.block() + b"\xff" + b"\x80" * 2000)


@case("7541-5.1")
def integer_longer_than_needed(c):
    """An integer with a zero octet too many is the same number, or a decoding error."""
    number = c.open()
    long = bytes([0x00, 0x7F, 0x80 | 3, 0x00]) + b"x" * 130 + wire.string("1")
    c.send(wire.headers(number, c.block(path="/") + long))
    stream = c.streams[number]
    c.read_until(lambda: stream.ended)
    if not stream.ended:
        c.connection_error(COMPRESSION_ERROR)


@case("7541-5.2")
def string_longer_than_its_block(c):
    """A string longer than what is left of the block is a decoding error."""
    refused(c, c.block() + b"\x00\x03x-a" + wire.integer(1000, 7) + b"abc")


@case("7541-5.2")
def string_of_2_gib(c):
    """A length of 2 GiB is a decoding error, and nothing is set aside for it."""
    refused(c, c.block() + b"\x00" + wire.integer(2**31, 7, 0x80) + b"abc")


@case("7541-5.2")
def block_ends_within_a_field(c):
    """A block that ends within a field is a decoding error."""
    refused(c, c.block() + b"\x40\x03x-a")


@case("7541-5.2")
def huffman_works(c):
    """Strings in Huffman code arrive."""
    every = "".join(map(chr, range(0x21, 0x7F)))
    block = wire.literal("x-a", every, KEPT, huffman=True)
    arrives(c, block, x_a=every)
    arrives(c, wire.indexed(62), x_a=every)


def huffman_string(code: bytes) -> bytes:
    return b"\x00\x03x-a" + wire.integer(len(code), 7, 0x80) + code


@case("7541-5.2")
def huffman_padding_too_long(c):
    """Padding of more than 7 bits is a decoding error."""
    refused(c, c.block() + huffman_string(b"\x1f\xff"))


@case("7541-5.2")
def huffman_padding_of_zeros(c):
    """Padding that is not the beginning of EOS is a decoding error."""
    refused(c, c.block() + huffman_string(b"\x18"))


@case("7541-5.2")
def huffman_eos(c):
    """EOS in a string is a decoding error."""
    refused(c, c.block() + huffman_string(b"\x1f\xff\xff\xff\xff"))


@case("7541-6.2.1")
def bad_bytes_in_huffman(c):
    """What is forbidden in a field is forbidden in Huffman code: CR LF in a value is malformed."""
    number = c.open()
    block = wire.literal("x-a", "1\r\nx-b: 2", huffman=True)
    c.send(wire.headers(number, c.block() + block))
    c.malformed(number)


@case("7541-4.1")
def one_table_for_all_streams(c):
    """Blocks of refused and reset streams change the table like any other."""
    number = c.open()
    upper = wire.literal("X-UPPER", "1", KEPT)
    c.send(wire.headers(number, c.block() + upper + wire.literal("x-a", "1", KEPT)))
    c.read_until(lambda: c.streams[number].reset is not None or c.streams[number].ended)
    if c.end:
        c.connection_error(wire.PROTOCOL_ERROR)
        return
    gone = c.open()
    c.send(wire.headers(gone, c.block() + wire.literal("x-b", "2", KEPT), end=False))
    c.send(wire.rst_stream(gone))
    arrives(c, wire.indexed(62) + wire.indexed(63), x_b="2", x_a="1")
