#!/usr/bin/env python3
"""Counts ringway's instructions per request. Start it by scripts/instructions.sh.

One connection sends one request after the other, so that no batch is larger by chance. Two runs
that differ in the number of requests alone are subtracted: what is left is requests, not start-up.
"""

import concurrent.futures
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

FEW, MANY = 500, 3500
TOLERANCE = 1.03
LIMIT = 120  # seconds for one run
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
HEADERS = "Host: localhost\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n"
GET = f"GET /index.html HTTP/1.1\r\n{HEADERS}\r\n".encode()
POST = f"POST /form HTTP/1.1\r\n{HEADERS}Content-Length: 1024\r\n\r\n".encode() + b"x" * 1024
STICKY = 'stickiness = { type = "lb_cookie" }\n'
RULES = "".join(
    f'[[listeners.rules]]\npriority = {n}\npath_pattern = "/none/{n}/*"\nforward = "home"\n'
    for n in range(1, 100)
) + '[[listeners.rules]]\npriority = 100\npath_pattern = "/index.*"\nforward = "home"\n'

# name: mode, lines of the target group, lines of the listener, request, connection per request
CASES = {
    "l7-get": ("l7", "", "", GET, False),
    "l7-get-100-rules": ("l7", "", RULES, GET, False),
    "l7-get-sticky": ("l7", STICKY, "", GET, False),
    "l7-post-1k": ("l7", "", "", POST, False),
    "l7-get-logged": ("l7", "", 'access_log = "/dev/null"\n', GET, False),
    "l7-new-connection": ("l7", "", "", GET, True),
    "l4-request": ("l4", "", "", GET, False),
}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def configuration(case, port, target, place):
    mode, group, listener, _, _ = CASES[case]
    return (
        '[server]\nworkers = 1\ndriver = "io_uring"\n'
        f'control = {{ socket = "{place}/control.sock" }}\n'
        f'[[target_groups]]\nname = "home"\ntargets = ["127.0.0.1:{target}"]\n'
        f"health_check = {{ enabled = false }}\n{group}"
        f'[[listeners]]\nname = "web"\naddress = "127.0.0.1:{port}"\n'
        f'mode = "{mode}"\ndefault = {{ forward = "home" }}\n{listener}'
    )


def serve(listener):
    """Answers each request of known length with the same few bytes."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection):
    pending = b""
    with connection:
        while True:
            head, end, rest = pending.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            body = int(length[1]) if length else 0
            if end and len(rest) >= body:
                pending = rest[body:]
                connection.sendall(RESPONSE)
                continue
            more = connection.recv(65536)
            if not more:
                return
            pending += more


def connect(address, process):
    """A connection, once ringway listens. While a worker waits on its ring, valgrind lets no other
    thread run: each attempt, and each connection at the end, wakes it."""
    deadline = time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return socket.create_connection(address, LIMIT)
        except OSError:
            time.sleep(0.05)
    return None


def ask(address, process, request, count, new_connections):
    """Sends `count` requests, with the cookie that the first response sets."""
    connection = connect(address, process)
    if connection is None:
        raise OSError("ringway does not listen")
    for done in range(count):
        connection.sendall(request)
        response = b""
        while not response.endswith(b"\r\n\r\nok"):
            more = connection.recv(65536)
            if not more:
                raise OSError(f"the connection ended after {response!r}")
            response += more
        if not response.startswith(b"HTTP/1.1 200 "):
            raise OSError(f"not the response of the target: {response!r}")
        cookies = re.findall(rb"(?i)set-cookie: (AWSALB[^;]*)", response)
        if done == 0 and cookies:
            request = request.replace(b"\r\n\r\n", b"\r\nCookie: " + cookies[0] + b"\r\n\r\n")
        if new_connections:
            connection.close()
            connection = connect(address, process)
    connection.close()


def instructions(binary, case, count):
    """What one run executes that answers `count` requests, in instructions."""
    target = socket.create_server(("127.0.0.1", 0), backlog=128)
    threading.Thread(target=serve, args=(target,), daemon=True).start()
    with tempfile.TemporaryDirectory() as place:
        config, address = os.path.join(place, "ringway.toml"), ("127.0.0.1", free_port())
        with open(config, "w", encoding="utf-8") as file:
            file.write(configuration(case, address[1], target.getsockname()[1], place))
        command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", binary, "run",
                   "--config", config]
        with open(os.path.join(place, "log"), "w+", encoding="utf-8") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            # A run that hangs ends with an error instead.
            overdue = threading.Timer(LIMIT, process.kill)
            overdue.start()
            try:
                _, _, _, request, new_connections = CASES[case]
                ask(address, process, request, count, new_connections)
                process.terminate()
                while process.poll() is None:
                    if poke := connect(address, process):
                        poke.close()
                    time.sleep(0.05)
            except OSError as error:
                log.seek(0)
                raise OSError(f"{error}; ringway said:\n{log.read()}") from error
            finally:
                overdue.cancel()
                process.kill()
                target.close()
            log.seek(0)
            collected = re.search(r"Collected : (\d+)", log.read())
    if not collected:
        raise OSError(f"callgrind counted nothing for {case}")
    return int(collected[1])


def measure(binary, case):
    few, many = (instructions(binary, case, count) for count in (FEW, MANY))
    return round((many - few) / (MANY - FEW))


def recorded(path):
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        lines = [line.split() for line in file if line.strip() and not line.startswith("#")]
    return {case: int(figure) for case, figure in lines}


def cannot(why):
    """Ends without a verdict."""
    print(f"instructions: {why}", file=sys.stderr)
    sys.exit(75)


def main():
    binary, path = sys.argv[1:3]
    known = recorded(path)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            found = dict(zip(CASES, pool.map(lambda case: measure(binary, case), CASES)))
        except OSError as error:
            cannot(error)
    worse = []
    for case, figure in found.items():
        before = known.get(case)
        change = f"{figure / before - 1:+.1%}" if before else "new"
        print(f"{case:20} {figure:7} instructions/request   recorded {before or '-':>7}  {change}")
        if not before or figure > before * TOLERANCE:
            worse.append(case)
    if "--record" in sys.argv:
        with open(path, "w", encoding="utf-8") as file:
            file.write("# Instructions per request in user space: scripts/instructions.sh --record\n")
            file.writelines(f"{case} {figure}\n" for case, figure in found.items())
    elif worse:
        sys.exit(f"instructions: more than 3 % above {path}, or not there: {', '.join(worse)}; "
                 "make the path shorter, or record why it is not: --record, in the same commit")


main()
