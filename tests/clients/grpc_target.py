"""A gRPC server of grpcio as a target, without generated code: messages are bytes.

Methods of /ringway.test.Echo/: Unary, Collect (client streaming), Repeat (server streaming), Both
(bidirectional), Fail, Wait, Tell. And health checks at /grpc.health.v1.Health/Check, and at
/AWS.ALB/healthcheck with the status that `Target.health` says.
"""

import concurrent.futures
import contextlib
import json
import threading

import grpc

SERVICE = "ringway.test.Echo"
MESSAGE_MAX = 16 * 1024 * 1024
OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_MAX),
    ("grpc.max_send_message_length", MESSAGE_MAX),
]
THREADS = 64
# Longest wait of the method Wait.
WAIT_SECONDS = 30
PIECES = 10


class Target:
    """What the server was asked, and how it answers probes."""

    def __init__(self) -> None:
        self.address = ""
        self.name = ""
        # Calls of Wait that began, and that were ended by the client or its deadline.
        self.waiting = threading.Semaphore(0)
        self.cancelled = threading.Semaphore(0)
        # Time left of the last call of Wait, in seconds.
        self.time_left: float | None = None
        self.health = grpc.StatusCode.OK
        self.probes = 0

    def unary(self, message: bytes, _) -> bytes:
        return message

    def collect(self, messages, _) -> bytes:
        return b"|".join(messages)

    def repeat(self, message: bytes, _):
        for n in range(PIECES):
            yield message + b" %d" % n

    def both(self, messages, _):
        for message in messages:
            yield b"echo " + message

    def fail(self, message: bytes, context) -> bytes:
        """The message is the number of a status and a text."""
        number, text = message.split(b" ", 1)
        context.set_trailing_metadata((("x-why", "asked to"),))
        code = next(code for code in grpc.StatusCode if code.value[0] == int(number))
        context.abort(code, text.decode())

    def fail_midway(self, message: bytes, context):
        yield message
        context.abort(grpc.StatusCode.DATA_LOSS, "midway")

    def wait(self, _: bytes, context) -> bytes:
        """Until the client gives up."""
        self.time_left = context.time_remaining()
        ended = threading.Event()
        if context.add_callback(ended.set):
            self.waiting.release()
            if ended.wait(WAIT_SECONDS):
                self.cancelled.release()
        return b""

    def tell(self, _: bytes, context) -> bytes:
        """The metadata of the call, and some of its own before and after the answer."""
        context.send_initial_metadata((("x-early", "1"), ("x-early-bin", b"\0\1\xff")))
        context.set_trailing_metadata((("x-late", "2"), ("x-late-bin", b"\xfe\0")))
        told = [[key, value.hex() if isinstance(value, bytes) else value]
                for key, value in context.invocation_metadata()]
        return json.dumps(dict(metadata=told, peer=self.name)).encode()

    def probe(self, _: bytes, context) -> bytes:
        self.probes += 1
        if self.health is not grpc.StatusCode.OK:
            context.abort(self.health, "as it was told")
        return b"\x08\x01"


def handlers(target: Target) -> list[grpc.GenericRpcHandler]:
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(target.unary),
        "Collect": grpc.stream_unary_rpc_method_handler(target.collect),
        "Repeat": grpc.unary_stream_rpc_method_handler(target.repeat),
        "Both": grpc.stream_stream_rpc_method_handler(target.both),
        "Fail": grpc.unary_unary_rpc_method_handler(target.fail),
        "FailMidway": grpc.unary_stream_rpc_method_handler(target.fail_midway),
        "Wait": grpc.unary_unary_rpc_method_handler(target.wait),
        "Tell": grpc.unary_unary_rpc_method_handler(target.tell),
    }
    probe = grpc.unary_unary_rpc_method_handler(target.probe)
    return [
        grpc.method_handlers_generic_handler(SERVICE, methods),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": probe}),
        grpc.method_handlers_generic_handler("AWS.ALB", {"healthcheck": probe}),
    ]


@contextlib.contextmanager
def serving(name: str = "one"):
    """A running `Target`, over h2c."""
    target = Target()
    target.name = name
    pool = concurrent.futures.ThreadPoolExecutor(THREADS)
    server = grpc.server(pool, handlers(target), options=OPTIONS)
    target.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield target
    finally:
        server.stop(grace=0).wait()
