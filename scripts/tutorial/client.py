"""A strict client: asks for / and /blog until SIGTERM, and forgives nothing.

Usage: client.py HOST:PORT RESULT_FILE. It keeps its connections open, so a connection that closes
without having said so is a failure, as are a body that is not whole or not one that the apps send,
and any status but 200. RESULT_FILE gets what it saw, as JSON.
"""

import http.client
import json
import re
import signal
import sys
import threading
import time

CLIENTS = 4
# Longest wait for a response, in seconds; longer is a failure.
PATIENCE = 30
# Between two requests of one client, in seconds.
PAUSE = 0.02
# Failures that are told in words.
TOLD_MAX = 5
BODIES = {
    "/": re.compile(r"(My Home), answered by [a-z0-9-]+\n"),
    "/blog": re.compile(r"(My Blog|My Blog version 2), answered by [a-z0-9-]+\n"),
}

stop = threading.Event()
lock = threading.Lock()
seen = {}
failures = []


def ask(connection, path):
    """The title of the page; raises if there is none."""
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read().decode()
    if response.status != 200:
        raise ValueError(f"status {response.status}: {body[:80]!r}")
    page = BODIES[path].fullmatch(body)
    if page is None:
        raise ValueError(f"not a page of the apps: {body[:80]!r}")
    return page[1]


def client(address):
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    while True:
        for path in BODIES:
            if stop.is_set():
                return
            try:
                title = ask(connection, path)
            except (OSError, ValueError, http.client.HTTPException) as cause:
                with lock:
                    failures.append(f"GET {path}: {cause!r}")
                connection.close()
            else:
                with lock:
                    seen[title] = seen.get(title, 0) + 1
            time.sleep(PAUSE)


def main():
    address, result = sys.argv[1:]
    # Both are set before a client begins, so that none is left over.
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    clients = [threading.Thread(target=client, args=(address,)) for _ in range(CLIENTS)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    with open(result, "w") as file:
        json.dump({"seen": seen, "failed": len(failures), "told": failures[:TOLD_MAX]}, file)


main()
