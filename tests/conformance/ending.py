"""How a connection of ringway ends: after so many requests, and when it drains."""

from . import wire
from .connection import Failed
from .registry import case

# What we promise, as AWS does not say.
REQUESTS_MAX = 10_000


@case("9113-6.8", raw=True, ours=True)
def goaway_after_10000_requests(server):
    """A connection ends by GOAWAY with NO_ERROR after 10,000 requests; none is lost."""
    c = server.greeted()
    block = wire.indexed(2) + wire.indexed(4) + wire.literal(1, "localhost")
    block += wire.indexed(7 if c.scheme == "https" else 6)
    served = 0
    while served < REQUESTS_MAX + 1000 and not c.goaways and not c.end:
        numbers = [c.open() for _ in range(100)]
        c.send(*[wire.headers(number, block) for number in numbers])
        c.read_until(lambda numbers=numbers: all(done(c, n) for n in numbers))
        for number in numbers:
            stream = c.streams.pop(number)
            served += stream.status == 200 and stream.ended
            beyond = c.goaways and number > c.goaways[-1].last_stream_id
            if not stream.ended and not beyond:
                raise Failed(f"request {number // 2} is lost: {stream}; {c.fate()}")
            if beyond:
                c.streams[number] = stream
    if not c.goaways or abs(served - REQUESTS_MAX) > 200:
        raise Failed(f"{served} served; {c.fate()}")
    c.connection_error(wire.NO_ERROR)


def done(c, number: int) -> bool:
    stream = c.streams[number]
    beyond = c.goaways and number > c.goaways[-1].last_stream_id
    return stream.ended or stream.reset is not None or bool(beyond)
