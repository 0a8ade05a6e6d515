"""HTTP/2 conformance: cases of RFC 9113, 7541 and 8441, floods and slow clients.

    scripts/test-clients.sh --install
    target/clients/bin/python tests/http2_conformance.py [--binary target/debug/ringway]
        --list            names the cases, and what each demands
        --only NAME       runs those whose name contains this; may be given several times
        --peer nghttpx    holds another server against them: nghttpx, haproxy or nginx

Each case has a connection of its own, over TLS and once more with prior knowledge (h2c). Whatever
it is about, the client is a referee for each frame that comes (tests/conformance/connection.py). The
exit status is 0 only if every case passed.
"""

import argparse
import contextlib
import pathlib
import sys
import tempfile
import time

from clients import balancer
from clients.target import Target
from conformance import connection, deviations, registry
from conformance import compression, ending, fields, floods, flow, frames, peers, start  # noqa: F401

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = """
[server]
workers = 2
drain_timeout = "1s"

[[target_groups]]
name = "all"
targets = ["{target}"]
health_check = {{ enabled = false }}

[[listeners]]
name = "web-tls"
address = "127.0.0.1:0"
default = {{ forward = "all" }}
{tls}

[[listeners.rules]]
priority = 1
path_pattern = "/fixed"
fixed_response = {{ status = 404, body = "fixed" }}

[[listeners]]
name = "web-h2c"
address = "127.0.0.1:0"
default = {{ forward = "all" }}
h2c = true

[[listeners.rules]]
priority = 1
path_pattern = "/fixed"
fixed_response = {{ status = 404, body = "fixed" }}

[[listeners]]
name = "brief-tls"
address = "127.0.0.1:0"
default = {{ forward = "all" }}
head_timeout = "1s"
idle_timeout = "2s"
{brief}

[[listeners]]
name = "brief-h2c"
address = "127.0.0.1:0"
default = {{ forward = "all" }}
head_timeout = "1s"
idle_timeout = "2s"
h2c = true
"""


@contextlib.contextmanager
def ringway(binary: pathlib.Path, directory: pathlib.Path):
    """A ringway, as a `Server`."""
    authority = balancer.Authority(directory)
    target = Target()
    config = CONFIG.format(
        target=target.address,
        tls=authority.tls(),
        brief=authority.tls(', handshake_timeout = "1s"'),
    )
    with balancer.running(binary, config) as running:
        addresses = {
            (listener, over): running.addresses[f"{listener}-{over}"]
            for listener in ("web", "brief")
            for over in (registry.TLS, registry.PLAIN)
        }
        yield registry.Server(addresses, str(authority.ca), target, running.process)


def chosen(arguments: argparse.Namespace) -> list[tuple[registry.Case, str]]:
    """The cases that are to be run, each with how it connects."""
    ours = arguments.peer is None
    return [
        (case, over)
        for case in registry.CASES
        for over in case.over
        if (ours or not case.ours)
        and over in arguments.over
        and (not arguments.only or any(part in case.name for part in arguments.only))
    ]


def run(server: registry.Server, case: registry.Case) -> tuple[str, str]:
    """How the case went, and what is wrong if it did not pass."""
    wrong = attempt(server, case)
    reason = deviations.DEVIATIONS.get(case.name) if server.ours else None
    if reason is None:
        return ("FAILED" if wrong else "ok"), wrong
    if not wrong:
        return "FAILED", "it passes: take it off the list of deviations"
    server.deviates = True
    wrong = attempt(server, case)
    server.deviates = False
    return ("FAILED" if wrong else "deviates"), wrong


def attempt(server: registry.Server, case: registry.Case) -> str:
    """What is wrong; empty if the case passes."""
    server.mark = f"{case.name.rsplit('/', 1)[1]}-{server.over}"
    server.notes = ""
    server.target.release()
    server.target.whole.clear()
    server.target.begun.clear()
    subject = None
    try:
        subject = server if case.raw else server.greeted()
        case.run(subject)
    except (connection.Failed, OSError, ValueError) as error:
        return str(error) or repr(error)
    finally:
        server.target.release()
        if isinstance(subject, connection.Connection):
            subject.close()
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/debug/ringway")
    parser.add_argument("--peer", choices=peers.PEERS)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", action="append", metavar="NAME")
    parser.add_argument("--over", action="append", choices=[registry.TLS, registry.PLAIN])
    arguments = parser.parse_args()
    arguments.over = arguments.over or [registry.TLS, registry.PLAIN]
    if arguments.list:
        for case in registry.CASES:
            print(f"{case.name} ({', '.join(case.over)}): {case.demands}")
        return 0
    cases = chosen(arguments)
    failed, deviating = [], 0
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        directory = pathlib.Path(name)
        if arguments.peer:
            server = stack.enter_context(peers.running(arguments.peer, directory))
        else:
            server = stack.enter_context(ringway(arguments.binary.resolve(), directory))
        for case, server.over in cases:
            began = time.monotonic()
            how, wrong = run(server, case)
            took = time.monotonic() - began
            label = f"{case.name} {server.over}"
            print(f"{how:8} {took:6.2f} s  {label}  {server.notes}".rstrip(), flush=True)
            if wrong:
                print(f"         {case.demands}\n         {wrong}", flush=True)
                failed.append(label)
            deviating += how == "deviates"
    names = {case.name for case, _ in cases}
    print(f"\n{len(names)} cases, each over {' and '.join(arguments.over)} where it applies")
    if deviating:
        print(f"{deviating} deviate as tests/conformance/deviations.py says")
    for label in failed:
        print(f"FAILED {label}")
    print(f"{len(cases) - len(failed) - deviating} passed, {len(failed)} failed")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
