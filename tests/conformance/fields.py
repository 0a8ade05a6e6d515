"""RFC 9113 section 8: requests and responses, their fields, and how they reach HTTP/1.1."""

import json

from . import wire
from .connection import Failed
from .frames import held
from .registry import case
from .wire import NO_ERROR, PROTOCOL_ERROR


def told(c, number: int) -> dict:
    """What the target was told by the request on this stream."""
    return json.loads(bytes(c.response(number).body))


def host(head: dict) -> list[str]:
    """Host fields, without the port that ringway adds, as AWS does."""
    return [value.split(":", 1)[0] for value in values(head, "host")]


def values(head: dict, name: str) -> list[str]:
    return [value for key, value in head["fields"] if key.lower() == name]


# ----------------------------------------------------------------------------- 8.1 the exchange


@case("9113-8.1")
def headers_twice(c):
    """A second HEADERS without END_STREAM is malformed."""
    number = c.request("POST", end=False)
    c.send(wire.headers(number, wire.block([("x-more", "1")]), end=False))
    c.malformed(number)


@case("9113-8.1")
def trailers_with_pseudo_field(c):
    """Trailers with a pseudo field are malformed."""
    number = c.request("POST", end=False)
    c.send(wire.data(number, b"x"), wire.headers(number, wire.block([(":path", "/")])))
    if not c.deviates:
        c.malformed(number)
    elif told(c, number)["trailers"]:
        raise Failed("it reached the target")


@case("9113-8.1")
def trailers_reach_the_target(c):
    """Trailers of a request are accepted."""
    number = c.request("POST", "/head", [("trailer", "x-sum"), ("te", "trailers")], end=False)
    c.send(wire.data(number, b"abc"), wire.headers(number, wire.block([("x-sum", "42")])))
    head = told(c, number)
    trailers = [(name.lower(), value) for name, value in head["trailers"]]
    if head["length"] != 3 or trailers not in ([("x-sum", "42")], []):
        raise Failed(f"the target got {head}")
    c.alive()


@case("9113-8.1")
def trailers_reach_the_client(c):
    """Trailers of a response come as HEADERS with END_STREAM."""
    number = c.request(path="/trailers", extra=[("te", "trailers")])
    stream = c.response(number)
    if stream.body != b"hello" or stream.trailers not in ([("x-sum", "42")], []):
        raise Failed(f"came {stream}")


@case("9113-8.1", ours=True)
def trailers_are_relayed_both_ways(c):
    """We relay trailers both ways, between HTTP/2 and chunked bodies."""
    number = c.request("POST", "/head", [("trailer", "x-sum"), ("te", "trailers")], end=False)
    c.send(wire.data(number, b"abc"), wire.headers(number, wire.block([("x-sum", "42")])))
    if told(c, number)["trailers"] != [["x-sum", "42"]]:
        raise Failed("not to the target")
    stream = c.response(c.request(path="/trailers", extra=[("te", "trailers")]))
    if stream.trailers != [("x-sum", "42")]:
        raise Failed(f"not to the client: {stream}")


@case("9113-8.1")
def head_has_no_body(c):
    """A response to HEAD has the length, and no DATA but an empty one."""
    number = c.request("HEAD", "/bytes/100")
    if c.response(number).field("content-length") not in ("100", None):
        raise Failed(f"came {c.streams[number]}")
    c.alive()


@case("9113-8.1")
def status_204_and_304_have_no_body(c):
    """204 and 304 end with their head."""
    for status in (204, 304):
        c.response(c.request(path=f"/status/{status}"), status)
    c.alive()


@case("9113-8.1")
def response_without_a_length(c):
    """A response that its target ends by closing ends with END_STREAM."""
    if c.get("/unending").body != b"hi":
        raise Failed("the body is another")
    c.alive()


@case("9113-8.1")
def request_without_a_length(c):
    """A body needs no content-length."""
    number = c.request("POST", "/echo", end=False)
    c.send(wire.data(number, b"abc"), wire.data(number, b"def", end=True))
    if c.response(number).body != b"abcdef":
        raise Failed("the body is another")


@case("9113-8.1")
def interim_response(c):
    """An interim response (103) is relayed or left out, and the final one comes."""
    stream = c.get("/early")
    statuses = [dict(fields)[":status"] for fields in stream.interim]
    if stream.body != b"hello" or set(statuses) - {"103"}:
        raise Failed(f"came {stream}")


@case("9113-8.1")
def expect_100_continue(c):
    """A request with Expect: 100-continue gets 100 or is not kept waiting, and is served."""
    extra = [("expect", "100-continue"), ("content-length", "3")]
    number = c.request("POST", "/echo", extra, end=False)
    c.pong()
    c.send(wire.data(number, b"abc", end=True))
    stream = c.response(number)
    if stream.body != b"abc":
        raise Failed(f"came {stream}")


@case("9113-8.1", ours=True)
def early_response(c):
    """A response before the end of the request: whole, then RST_STREAM with NO_ERROR, or the rest
    is read; never another error."""
    number = c.request("POST", "/fixed", end=False)
    stream = c.response(number, 404)
    c.pong()
    c.read_until(lambda: stream.reset is not None, 1)
    if stream.reset not in (None, NO_ERROR):
        raise Failed(f"reset with {wire.error_name(stream.reset)}")
    if stream.reset is None:
        c.send(wire.data(number, b"x", end=True))
    c.alive()


@case("9113-8.1")
def exchanges_are_interleaved(c):
    """A response that is ready does not wait for one that is not."""
    with held(c) as number:
        for _ in range(3):
            c.get("/bytes/100")
        if c.streams[number].status:
            raise Failed("it was not held")
    c.response(number)


@case("9113-8.1.1")
def content_length_too_small(c):
    """DATA beyond content-length is malformed."""
    number = c.request("POST", extra=[("content-length", "1")], end=False)
    c.send(wire.data(number, b"test", end=True))
    c.malformed(number)


@case("9113-8.1.1")
def content_length_too_small_in_pieces(c):
    """DATA beyond content-length is malformed, also in a second frame."""
    number = c.request("POST", extra=[("content-length", "5")], end=False)
    c.send(wire.data(number, b"test"), wire.data(number, b"test", end=True))
    c.malformed(number)


@case("9113-8.1.1")
def content_length_too_large(c):
    """An end before content-length is malformed."""
    number = c.request("POST", extra=[("content-length", "10")], end=False)
    c.send(wire.data(number, b"test"), wire.data(number, b"test", end=True))
    c.malformed(number)


@case("9113-8.1.1")
def content_length_without_a_body(c):
    """END_STREAM on HEADERS with a content-length other than 0 is malformed."""
    c.malformed(c.request("POST", extra=[("content-length", "5")]))


@case("9113-8.1.1")
def content_length_before_trailers(c):
    """An end by trailers before content-length is malformed."""
    number = c.request("POST", extra=[("content-length", "5")], end=False)
    c.send(wire.data(number, b"abc"), wire.headers(number, wire.block([("x-sum", "1")])))
    c.malformed(number)


@case("9113-8.1.1")
def content_length_of_0(c):
    """A content-length of 0 is good, with END_STREAM on HEADERS or on empty DATA."""
    extra = [("content-length", "0")]
    c.response(c.request("POST", "/echo", extra))
    number = c.request("POST", "/echo", extra, end=False)
    c.send(wire.data(number, end=True))
    c.response(number)


@case("9113-8.1.1")
def content_length_twice(c):
    """Two content-lengths that differ are malformed."""
    extra = [("content-length", "3"), ("content-length", "4")]
    number = c.request("POST", extra=extra, end=False)
    c.send(wire.data(number, b"abc", end=True))
    c.malformed(number)


@case("9113-8.1.1")
def content_length_not_a_number(c):
    """A content-length that is no number is malformed."""
    for value in ("abc", "-1", "+3", "3.0", "0x3", "99999999999999999999999"):
        number = c.request("POST", extra=[("content-length", value)], end=False)
        c.send(wire.data(number, b"abc", end=True))
        c.malformed(number, 413)


# ------------------------------------------------------------------------------ 8.2 the fields


def bad_field(c, name: str | bytes, value: str | bytes = "1") -> None:
    c.malformed(c.request(extra=[(name, value)]))


@case("9113-8.2.1")
def name_in_upper_case(c):
    """A name with upper case is malformed."""
    bad_field(c, "X-Test")


@case("9113-8.2.1")
def name_with_bad_octets(c):
    """A name with octets up to 0x20, or from 0x7f on, is malformed."""
    for octet in b"\0\t\n\r \x7f\x80\xff":
        bad_field(c, b"x-a" + bytes([octet]) + b"b")


@case("9113-8.2.1")
def name_with_a_colon(c):
    """A name with a colon that is not its first octet is malformed."""
    bad_field(c, "x:a")


@case("9113-8.2.1")
def name_empty(c):
    """An empty name is malformed: it is no token (RFC 9110 section 5.1)."""
    bad_field(c, "")


@case("9113-8.2.1")
def name_smuggles_a_field(c):
    """A name that would be another field in HTTP/1.1 is malformed."""
    bad_field(c, b"transfer-encoding: chunked\r\nx")


@case("9113-8.2.1")
def value_with_bad_octets(c):
    """A value with NUL, LF or CR anywhere is malformed."""
    for octet in b"\0\n\r":
        bad_field(c, "x-test", b"a" + bytes([octet]) + b"b")


@case("9113-8.2.1")
def value_smuggles_a_request(c):
    """A value that would end the head in HTTP/1.1 is malformed."""
    bad_field(c, "x-test", b"a\r\nContent-Length: 0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x")


@case("9113-8.2.1")
def value_with_space_around(c):
    """A value that starts or ends with a space or tab is malformed."""
    for value in (" a", "a ", "\ta", "a\t"):
        bad_field(c, "x-test", value)


@case("9113-8.2.1")
def value_of_any_good_octet(c):
    """Values with spaces inside, empty ones and octets from 0x80 on are good, and arrive."""
    sent = {"x-a": "a b\tc", "x-b": "", "x-c": "\x80\xff", "x-d": '!"#$%&\'()*+,/:;<=>?@[]{}|~^`\\'}
    head = told(c, c.request(path="/head", extra=sent.items()))
    for name, value in sent.items():
        if [v.strip() for v in values(head, name)] != [value]:
            raise Failed(f"{name}: {value!r} arrived as {values(head, name)}")


@case("9113-8.2.1")
def names_of_every_token_octet(c):
    """A name may have every octet of a token."""
    name = "x!#$%&'*+-.^_`|~0a"
    head = told(c, c.request(path="/head", extra=[(name, "1")]))
    if values(head, name) not in (["1"], []):
        raise Failed(f"the target got {head}")


@case("9113-8.2.2")
def connection_specific_fields(c):
    """Connection, Keep-Alive, Proxy-Connection, Transfer-Encoding and Upgrade are malformed."""
    for name, value in (
        ("connection", "keep-alive"),
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "h2c"),
    ):
        bad_field(c, name, value)


@case("9113-8.2.2")
def te_other_than_trailers(c):
    """TE with anything but `trailers` is malformed."""
    bad_field(c, "te", "trailers, deflate")
    bad_field(c, "te", "gzip")


@case("9113-8.2.2")
def te_trailers(c):
    """TE: trailers is good."""
    c.response(c.request(path="/", extra=[("te", "trailers")]))


@case("9113-8.2.2")
def connection_specific_trailers(c):
    """Connection-specific fields are malformed in trailers, too."""
    number = c.request("POST", end=False)
    block = wire.block([("transfer-encoding", "chunked")])
    c.send(wire.data(number, b"x"), wire.headers(number, block))
    c.malformed(number)


@case("9113-8.2.3")
def cookies_are_joined(c):
    """Cookie crumbs are one field, joined by `; `, in HTTP/1.1."""
    crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]
    head = told(c, c.request(path="/head", extra=crumbs))
    if values(head, "cookie") != ["a=1; b=2; c=3"]:
        raise Failed(f"the target got {values(head, 'cookie')}")


@case("9113-8.2.1")
def many_fields(c):
    """A hundred fields and a field of 8,000 bytes arrive."""
    extra = [(f"x-{n}", str(n)) for n in range(100)] + [("x-long", "a" * 8000)]
    head = told(c, c.request(path="/head", extra=extra))
    missing = [name for name, value in extra if values(head, name) != [value]]
    if missing:
        raise Failed(f"missing: {missing}")


@case("9113-10.5.1")
def fields_too_many(c):
    """A header list beyond what the server takes is refused with a status (431 or another 4xx), a
    stream error or a connection error; and in the first two cases the connection goes on, with
    the same tables."""
    extra = [(f"x-{n}", "a" * 4000) for n in range(60)]
    number = c.open()
    kept = wire.literal("x-kept", "yes", wire.KEPT)
    block = c.block(extra=extra) + kept
    c.send(wire.headers(number, block[: wire.FRAME_DEFAULT], more=True))
    rest = block[wire.FRAME_DEFAULT :]
    while rest and not c.end:
        piece, rest = rest[: wire.FRAME_DEFAULT], rest[wire.FRAME_DEFAULT :]
        c.send(wire.continuation(number, piece, last=not rest))
    stream = c.streams[number]
    c.read_until(lambda: stream.reset is not None or stream.ended)
    if any(c.mark in path for path in c.target.whole):
        raise Failed("it reached the target")
    if c.end:
        c.connection_error(PROTOCOL_ERROR, wire.ENHANCE_YOUR_CALM, wire.COMPRESSION_ERROR)
        return
    if stream.reset is None and not 400 <= stream.status <= 499:
        raise Failed(f"it got {stream}; {c.fate()}")
    c.alive()
    number = c.open()
    c.send(wire.headers(number, c.block(path="/head") + wire.indexed(62)))
    if values(told(c, number), "x-kept") != ["yes"]:
        raise Failed("the table has lost an entry of the refused block (4.3)")


# ------------------------------------------------------------------------- 8.3 the pseudo fields


@case("9113-8.3")
def pseudo_unknown(c):
    """A pseudo field that nobody has defined is malformed."""
    bad = c.open()
    c.send(wire.headers(bad, wire.block([(":test", "1")]) + c.block()))
    c.malformed(bad)


@case("9113-8.3")
def pseudo_of_a_response(c):
    """:status in a request is malformed."""
    bad = c.open()
    c.send(wire.headers(bad, wire.block([(":status", "200")]) + c.block()))
    c.malformed(bad)


@case("9113-8.3")
def pseudo_after_regular(c):
    """A pseudo field after a regular one is malformed."""
    for name in (":method", ":scheme", ":path", ":authority"):
        fields = dict(c.fields())
        value = fields.pop(name)
        number = c.open()
        c.send(wire.headers(number, wire.block([*fields.items(), ("x-a", "1"), (name, value)])))
        c.malformed(number)


@case("9113-8.3.1")
def pseudo_twice(c):
    """A pseudo field that comes twice is malformed."""
    for name in (":method", ":scheme", ":path", ":authority"):
        number = c.open()
        again = wire.block([(name, dict(c.fields())[name])])
        c.send(wire.headers(number, again + c.block()))
        c.malformed(number)


@case("9113-8.3.1")
def pseudo_missing(c):
    """A request without :method, :scheme or :path is malformed."""
    for name in (":method", ":scheme", ":path"):
        c.malformed(c.request(without=[name]))


@case("9113-8.3.1")
def pseudo_empty(c):
    """An empty :path, :method or :scheme is malformed."""
    for name in ("path", "method", "scheme"):
        number = c.open()
        c.send(wire.headers(number, wire.block([(n, "" if n == f":{name}" else v)
                                                for n, v in c.fields()])))
        c.malformed(number)


@case("9113-8.3.1")
def authority_missing(c):
    """A request with neither :authority nor Host is malformed."""
    c.malformed(c.request(without=[":authority"]))


@case("9113-8.3.1")
def host_in_place_of_authority(c):
    """Host will do where there is no :authority."""
    number = c.request(path="/head", without=[":authority"], extra=[("host", "h.example")])
    if host(told(c, number)) != ["h.example"]:
        raise Failed("Host is another at the target")


@case("9113-8.3.1")
def authority_becomes_host(c):
    """:authority becomes the one Host of HTTP/1.1."""
    for extra in ([], [("host", "a.example")]):
        head = told(c, c.request(path="/head", authority="a.example", extra=extra))
        if host(head) != ["a.example"]:
            raise Failed(f"Host is {values(head, 'host')}")


@case("9113-8.3.1")
def host_other_than_authority(c):
    """A Host that names another authority is malformed, or is replaced by :authority."""
    number = c.request(path="/head", authority="a.example", extra=[("host", "b.example")])
    stream = c.streams[number]
    c.read_until(lambda: stream.reset is not None or stream.ended)
    if stream.reset == PROTOCOL_ERROR or stream.status == 400:
        c.alive()
    elif host(told(c, number)) != ["a.example"]:
        raise Failed(f"it got {stream}; {c.fate()}")


@case("9113-8.3.1")
def host_twice(c):
    """Two Host fields are malformed (RFC 9112 section 3.2)."""
    extra = [("host", "a.example"), ("host", "b.example")]
    c.malformed(c.request(without=[":authority"], extra=extra))


@case("9113-8.3.1")
def authority_with_userinfo(c):
    """User information in :authority is malformed."""
    c.malformed(c.request(authority="user:secret@localhost"))


@case("9113-8.3.1")
def authority_with_bad_octets(c):
    """An :authority that is none is malformed."""
    for authority in ("a b", "a/b", "a\r\nx: y", "a\0", "a?b", "a#b", "[::1"):
        c.malformed(c.request(authority=authority))


@case("9113-8.3.1")
def path_without_a_slash(c):
    """A :path that does not begin with a slash is malformed."""
    for path in ("head", "head?x", "?x", "http://localhost/head"):
        c.malformed(c.request(path=f"{path}&{c.mark}"))


@case("9113-8.3.1")
def path_with_bad_octets(c):
    """A :path with spaces or controls, which would be another request line, is malformed."""
    for octets in (" ", " HTTP/1.1\r\nx: ", "\r\n", "\t", "\0", "\x7f", "\n"):
        c.malformed(c.request(path=f"/head?{c.mark}{octets}a"))


@case("9113-8.3.1")
def path_with_a_fragment(c):
    """A fragment is no part of :path: it is malformed, or does not reach the target."""
    number = c.request(path="/head#fragment")
    stream = c.streams[number]
    c.read_until(lambda: stream.reset is not None or stream.ended)
    if stream.status == 200 and "#" in told(c, number)["line"]:
        raise Failed("it reached the target")
    c.alive()


@case("9113-8.3.1")
def path_asterisk(c):
    """`*` is the :path of OPTIONS, and malformed for others."""
    number = c.request("OPTIONS", "*")
    stream = c.streams[number]
    c.read_until(lambda: stream.ended or stream.reset is not None)
    if not stream.ended:
        raise Failed(f"OPTIONS * got {stream}; {c.fate()}")
    c.malformed(c.request("GET", "*"), 404)


@case("9113-8.3.1")
def method_with_bad_octets(c):
    """A :method that is no token is malformed."""
    for method in ("GET /head HTTP/1.1\r\n", "GE T", "GET\0", "G\tT", "(GET)"):
        c.malformed(c.request(method), 405, 501)


@case("9113-8.3.1")
def method_of_ones_own(c):
    """An unknown method is forwarded or refused as such (405, 501)."""
    number = c.request("BREW", "/head")
    stream = c.streams[number]
    c.read_until(lambda: stream.ended or stream.reset is not None)
    if stream.status not in (200, 400, 405, 501):
        raise Failed(f"it got {stream}; {c.fate()}")
    c.alive()


@case("9113-8.3.1")
def scheme_with_bad_octets(c):
    """A :scheme that is none is malformed."""
    for scheme in ("http s", "https://", "http\r\nx: y"):
        c.malformed(c.request(scheme=scheme))


# --------------------------------------------------------------------------------- 8.5 CONNECT


@case("9113-8.5")
def connect_with_scheme_and_path(c):
    """CONNECT with :scheme and :path, and without :protocol, is malformed."""
    c.malformed(c.request("CONNECT"), 405, 501)


@case("9113-8.5")
def connect_without_authority(c):
    """CONNECT without :authority is malformed."""
    number = c.request("CONNECT", without=[":scheme", ":path", ":authority"], end=False)
    c.malformed(number, 405, 501)


@case("9113-8.5")
def connect_is_refused(c):
    """Who is no forward proxy refuses CONNECT, with a status or a stream error."""
    number = c.request("CONNECT", without=[":scheme", ":path"], authority="localhost:1", end=False)
    stream = c.streams[number]
    c.read_until(lambda: stream.status or stream.reset is not None)
    if stream.reset is None and not 400 <= stream.status <= 599:
        raise Failed(f"it got {stream}; {c.fate()}")
    c.alive()


# --------------------------------------------------------- RFC 8441: WebSocket, extended CONNECT


def extended(c, protocol: str = "websocket", **more) -> int:
    extra = [("sec-websocket-version", "13"), ("origin", "https://localhost")]
    fields = c.fields("CONNECT", "/websocket", extra, protocol=protocol, **more)
    number = c.open("CONNECT")
    c.send(wire.headers(number, wire.block(fields), end=False))
    return number


@case("8441-3", ours=True)
def extended_connect_is_announced(c):
    """SETTINGS_ENABLE_CONNECT_PROTOCOL 1 says that WebSocket over HTTP/2 is served."""
    if c.settings.get(wire.ENABLE_CONNECT_PROTOCOL) != 1:
        raise Failed(f"SETTINGS are {c.settings}")


@case("8441-4", ours=True)
def extended_connect_echo(c):
    """Extended CONNECT for a WebSocket gets 200, then its bytes go both ways, to either's end."""
    number = extended(c)
    stream = c.streams[number]
    c.read_until(lambda: stream.status or stream.reset is not None)
    if stream.status != 200 or stream.field("sec-websocket-accept"):
        raise Failed(f"it got {stream}; {c.fate()}")
    for length in (1, 5, 70000):
        wanted = len(stream.body) + length
        c.upload(number, length, end=False)
        c.read_until(lambda wanted=wanted: len(stream.body) >= wanted)
    if stream.body != b"u" * 70006:
        raise Failed(f"the echo has {len(stream.body)} bytes; {c.fate()}")
    c.get()
    c.send(wire.data(number, end=True))
    c.read_until(lambda: stream.ended or stream.reset is not None)
    if not stream.ended:
        raise Failed(f"after the client's end: reset {stream.reset}; {c.fate()}")
    c.alive()


@case("8441-4", ours=True)
def extended_connect_of_unknown_protocol(c):
    """Extended CONNECT for another protocol is refused (RFC 9220: 501), and not forwarded."""
    number = extended(c, "connect-udp")
    stream = c.streams[number]
    c.read_until(lambda: stream.status or stream.reset is not None)
    if stream.reset is None and stream.status not in (400, 501):
        raise Failed(f"it got {stream}; {c.fate()}")
    c.alive()


@case("8441-4", ours=True)
def extended_connect_without_path(c):
    """Extended CONNECT needs :scheme and :path."""
    c.malformed(extended(c, without=[":path"]), 501)
    c.malformed(extended(c, without=[":scheme"]), 501)


@case("8441-4", ours=True)
def protocol_without_connect(c):
    """:protocol on another method is malformed."""
    c.malformed(c.request("GET", protocol="websocket"), 501)
