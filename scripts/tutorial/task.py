"""Runs a Flask app as a task: on a port of 127.0.0.1 that the kernel chooses.

Usage: APP.py NAME PORT_FILE [VERSION]. The port goes to PORT_FILE once connections are taken.
"""

import os
import sys

from werkzeug.serving import WSGIRequestHandler, make_server

NAME = sys.argv[1]
PORT_FILE = sys.argv[2]
VERSION = sys.argv[3] if len(sys.argv) > 3 else "1"


class Handler(WSGIRequestHandler):
    # Head and body leave in one write, so that a task that is killed has answered wholly or not
    # at all. What has not been answered at all can be asked of another task.
    wbufsize = 65536

    def log_request(self, *_):
        pass


def run(app):
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Handler)
    with open(PORT_FILE + ".new", "w") as file:
        print(server.server_port, file=file)
    os.rename(PORT_FILE + ".new", PORT_FILE)
    server.serve_forever()
