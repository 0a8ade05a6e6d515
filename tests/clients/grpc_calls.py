"""grpcio as client and as target, through a group with protocol_version = "GRPC"."""

import contextlib
import json
import threading
import time

import grpc

from . import balancer, grpc_target
from .demands import demand
from .setting import Setting

TIMEOUT_SECONDS = 20
FOUR_MIB = 4 * 1024 * 1024
# A call whose deadline is as short as this is ended by it.
SHORT_SECONDS = 0.5
PROBE_SECONDS = 30


@contextlib.contextmanager
def channel(setting: Setting, address: str | None = None):
    credentials = grpc.ssl_channel_credentials(setting.authority.ca.read_bytes())
    address = address or f"localhost:{setting.port}"
    with grpc.secure_channel(address, credentials, grpc_target.OPTIONS) as opened:
        yield opened


def path(method: str) -> str:
    return f"/{grpc_target.SERVICE}/{method}"


def failure(call) -> grpc.RpcError:
    """The error with which a call ends."""
    try:
        told = call()
    except grpc.RpcError as error:
        return error
    demand(False, f"it succeeded: {told!r}")
    raise AssertionError


def kinds(setting: Setting) -> str:
    """Unary, client, server and bidirectional streaming; 200 calls at once."""
    with channel(setting) as c:
        words = [b"", b"a", b"b" * 100_000]
        for word in words:
            demand(c.unary_unary(path("Unary"))(word, timeout=TIMEOUT_SECONDS) == word, "unary")
        told = c.stream_unary(path("Collect"))(iter(words), timeout=TIMEOUT_SECONDS)
        demand(told == b"|".join(words), "client streaming")
        told = list(c.unary_stream(path("Repeat"))(b"n", timeout=TIMEOUT_SECONDS))
        demand(told == [b"n %d" % n for n in range(grpc_target.PIECES)], told)
        ping_pong(c)
        unary = c.unary_unary(path("Unary"))
        calls = [unary.future(b"%d" % n, timeout=TIMEOUT_SECONDS) for n in range(200)]
        demand([call.result() for call in calls] == [b"%d" % n for n in range(200)], "at once")
    return "unary, client, server and bidirectional streaming, 200 at once"


def ping_pong(c: grpc.Channel) -> None:
    """Each message is sent only after the echo of the one before: nothing may wait for more."""
    turn = threading.Semaphore(1)

    def messages():
        for n in range(20):
            demand(turn.acquire(timeout=TIMEOUT_SECONDS), f"no echo of message {n - 1}")
            yield b"%d" % n

    answers = []
    for answer in c.stream_stream(path("Both"))(messages(), timeout=TIMEOUT_SECONDS):
        answers.append(answer)
        turn.release()
    demand(answers == [b"echo %d" % n for n in range(20)], answers)


def large(setting: Setting) -> str:
    """Messages of 4 MiB, both ways, in each kind of call."""
    message = bytes(range(256)) * (FOUR_MIB // 256)
    with channel(setting) as c:
        demand(c.unary_unary(path("Unary"))(message, timeout=TIMEOUT_SECONDS) == message, "unary")
        messages = iter([message] * 3)
        told = c.stream_stream(path("Both"))(messages, timeout=TIMEOUT_SECONDS)
        demand([len(m) for m in told] == [FOUR_MIB + 5] * 3, "bidirectional")
    return "4 MiB there and back, alone and three in a stream"


def metadata(setting: Setting) -> str:
    """Metadata in text and bytes both ways, before and after the messages."""
    sent = (("x-mine", "a b"), ("x-mine", "second"), ("x-mine-bin", b"\0\xff\x80"))
    with channel(setting) as c:
        call = c.unary_unary(path("Tell"))
        told, done = call.with_call(b"", metadata=sent, timeout=TIMEOUT_SECONDS)
        arrived = json.loads(told)["metadata"]
        for key, value in sent:
            value = value.hex() if isinstance(value, bytes) else value
            demand([key, value] in arrived, arrived)
        demand(any(key == "x-forwarded-for" for key, _ in arrived), arrived)
        early, late = dict(done.initial_metadata()), dict(done.trailing_metadata())
        demand(early.get("x-early") == "1" and early.get("x-early-bin") == b"\0\1\xff", early)
        demand(late.get("x-late") == "2" and late.get("x-late-bin") == b"\xfe\0", late)
    return "text and bytes, to the target and back, as fields and as trailers"


def errors(setting: Setting) -> str:
    """Each status of the target arrives as it is, with its text and trailers; after messages, too;
    a method that nobody has is UNIMPLEMENTED."""
    with channel(setting) as c:
        for code in grpc.StatusCode:
            if code is grpc.StatusCode.OK:
                continue
            text = f"{code.value[0]} über %41 \U0001f600"
            error = failure(lambda t=text: c.unary_unary(path("Fail"))(t.encode(), timeout=20))
            demand(error.code() is code, error)
            demand(error.details() == text.split(" ", 1)[1], error.details())
            demand(dict(error.trailing_metadata()).get("x-why") == "asked to", error)
        got = []
        stream = c.unary_stream(path("FailMidway"))(b"first", timeout=TIMEOUT_SECONDS)
        error = failure(lambda: [got.append(message) for message in stream])
        demand(got == [b"first"] and error.code() is grpc.StatusCode.DATA_LOSS, error)
        error = failure(lambda: c.unary_unary(path("None"))(b"", timeout=TIMEOUT_SECONDS))
        demand(error.code() is grpc.StatusCode.UNIMPLEMENTED, error)
    return "16 statuses with text and trailers, one after a message, UNIMPLEMENTED"


def deadlines(setting: Setting) -> str:
    """A deadline reaches the target as such, ends the call there, and harms no other."""
    target = setting.calls
    with channel(setting) as c:
        began = time.monotonic()
        wait = c.unary_unary(path("Wait"))
        error = failure(lambda: wait(b"", timeout=SHORT_SECONDS))
        demand(error.code() is grpc.StatusCode.DEADLINE_EXCEEDED, error)
        demand(time.monotonic() - began < TIMEOUT_SECONDS, "the deadline was not kept")
        demand(target.waiting.acquire(timeout=TIMEOUT_SECONDS), "it never reached the target")
        demand(target.time_left is not None and target.time_left <= SHORT_SECONDS, target.time_left)
        demand(target.cancelled.acquire(timeout=TIMEOUT_SECONDS), "the target was not told")
        demand(c.unary_unary(path("Unary"))(b"x", timeout=TIMEOUT_SECONDS) == b"x", "afterwards")
    return "reaches the target, and ends the call there"


def cancellation(setting: Setting) -> str:
    """A call that the client cancels is cancelled at the target; others on the connection go on."""
    target = setting.calls
    with channel(setting) as c:
        calls = [c.unary_unary(path("Wait")).future(b"", timeout=TIMEOUT_SECONDS)
                 for _ in range(20)]
        for _ in calls:
            demand(target.waiting.acquire(timeout=TIMEOUT_SECONDS), "never reached the target")
        for call in calls:
            call.cancel()
        for _ in calls:
            demand(target.cancelled.acquire(timeout=TIMEOUT_SECONDS), "the target was not told")
        demand(all(call.code() is grpc.StatusCode.CANCELLED for call in calls), "codes")
        stream = c.unary_stream(path("Repeat"))(b"x" * 100_000, timeout=TIMEOUT_SECONDS)
        next(stream)
        stream.cancel()
        demand(c.unary_unary(path("Unary"))(b"x", timeout=TIMEOUT_SECONDS) == b"x", "afterwards")
    return "20 calls at once, cancelled at the target"


HEALTH_CONFIG = """
[server]
workers = 1
drain_timeout = "1s"

[[target_groups]]
name = "calls"
protocol_version = "GRPC"
targets = ["{one}", "{two}"]
[target_groups.health_check]
path = "/grpc.health.v1.Health/Check"
matcher = "0"
interval = "200ms"
timeout = "150ms"
healthy_threshold = 2
unhealthy_threshold = 2

[[listeners]]
name = "web"
address = "127.0.0.1:0"
default = {{ forward = "calls" }}
{tls}
"""


def health(setting: Setting) -> str:
    """Probes by gRPC: a target that answers with another status is taken out, and comes back; with
    all out and nobody there, calls end with UNAVAILABLE."""
    with contextlib.ExitStack() as stack:
        one, two = (stack.enter_context(grpc_target.serving(name)) for name in ("one", "two"))
        config = HEALTH_CONFIG.format(
            one=one.address, two=two.address, tls=setting.authority.tls()
        )
        running = stack.enter_context(balancer.running(setting.binary, config))
        c = stack.enter_context(channel(setting, f"localhost:{running.port('web')}"))
        tell = c.unary_unary(path("Tell"))

        def seen() -> set[str]:
            answers = [tell(b"", timeout=TIMEOUT_SECONDS) for _ in range(20)]
            return {json.loads(answer)["peer"] for answer in answers}

        def become(wanted: set[str]) -> None:
            deadline = time.monotonic() + PROBE_SECONDS
            while (now := seen()) != wanted:
                demand(time.monotonic() < deadline, f"calls go to {now}, not {wanted}")

        become({"one", "two"})
        two.health = grpc.StatusCode.UNAVAILABLE
        become({"one"})
        two.health = grpc.StatusCode.OK
        become({"one", "two"})
        demand(one.probes and two.probes, "no probe came")
    return "a target is out while its status is UNAVAILABLE, and back with OK"


def nobody_there(setting: Setting) -> str:
    """Where no target answers, the call ends with UNAVAILABLE."""
    with contextlib.ExitStack() as stack:
        with grpc_target.serving() as gone:
            pass
        config = HEALTH_CONFIG.format(one=gone.address, two=gone.address.replace("0.0.1", "0.0.2"),
                                      tls=setting.authority.tls())
        running = stack.enter_context(balancer.running(setting.binary, config))
        c = stack.enter_context(channel(setting, f"localhost:{running.port('web')}"))
        call = c.unary_unary(path("Unary"))
        error = failure(lambda: call(b"", timeout=TIMEOUT_SECONDS))
        demand(error.code() is grpc.StatusCode.UNAVAILABLE, error)
    return "UNAVAILABLE"


CHECKS = {
    "grpc-kinds": kinds,
    "grpc-large": large,
    "grpc-metadata": metadata,
    "grpc-errors": errors,
    "grpc-deadlines": deadlines,
    "grpc-cancellation": cancellation,
    "grpc-health": health,
    "grpc-nobody-there": nobody_there,
}
