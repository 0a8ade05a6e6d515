"""Other servers to hold the cases against: what they all do is hardly wrong."""

import contextlib
import pathlib
import socket
import subprocess
import time

from clients import balancer
from clients.target import Target

from . import registry

NGINX = """
daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;
events {{ }}
http {{
    access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p;
    fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
    server {{
        listen 127.0.0.1:{tls} ssl http2; listen 127.0.0.1:{plain} http2;
        ssl_certificate {dir}/server.pem; ssl_certificate_key {dir}/server.key;
        location = /fixed {{ return 404 "fixed"; }}
        location / {{
            proxy_pass http://{target}; proxy_http_version 1.1; proxy_set_header Host $http_host;
            proxy_request_buffering off; proxy_buffering off;
        }}
    }}
}}
"""
HAPROXY = """
global
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode http
    timeout client 30s
    timeout server 30s
    timeout connect 5s
frontend web
    bind 127.0.0.1:{tls} ssl crt {dir}/both.pem alpn h2,http/1.1
    bind 127.0.0.1:{plain} proto h2
    http-request return status 404 content-type text/plain string fixed if {{ path /fixed }}
    default_backend all
backend all
    server one {target}
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def _nginx(values: dict) -> list[str]:
    path = pathlib.Path(values["dir"]) / "nginx.conf"
    path.write_text(NGINX.format(**values))
    return ["nginx", "-c", str(path)]


def _haproxy(values: dict) -> list[str]:
    directory = pathlib.Path(values["dir"])
    both = (directory / "server.pem").read_text() + (directory / "server.key").read_text()
    (directory / "both.pem").write_text(both)
    (directory / "haproxy.cfg").write_text(HAPROXY.format(**values))
    return ["haproxy", "-db", "-f", str(directory / "haproxy.cfg")]


def _nghttpx(values: dict) -> list[str]:
    host, port = values["target"].split(":")
    return [
        "nghttpx", "--single-process", "--workers=1", "--conf=/dev/null", "--no-ocsp",
        f"--frontend=127.0.0.1,{values['tls']}", f"--frontend=127.0.0.1,{values['plain']};no-tls",
        f"--backend={host},{port}", "--errorlog-file=/dev/null",
        f"{values['dir']}/server.key", f"{values['dir']}/server.pem",
    ]  # fmt: skip


PEERS = {"nginx": _nginx, "haproxy": _haproxy, "nghttpx": _nghttpx}


@contextlib.contextmanager
def running(name: str, directory: pathlib.Path):
    """One of them, as a `Server`."""
    authority = balancer.Authority(directory)
    target = Target()
    ports = {registry.TLS: free_port(), registry.PLAIN: free_port()}
    values = dict(
        dir=directory, target=target.address, tls=ports[registry.TLS], plain=ports[registry.PLAIN]
    )
    with (directory / "peer.log").open("wb") as log:
        child = subprocess.Popen(
            PEERS[name](values), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        for port in ports.values():
            _await(port, child, directory)
        addresses = {("web", over): ("127.0.0.1", port) for over, port in ports.items()}
        process = balancer.Process(child.pid)
        yield registry.Server(addresses, str(authority.ca), target, process, ours=False)
    finally:
        child.terminate()
        child.wait()


def _await(port: int, child: subprocess.Popen, directory: pathlib.Path) -> None:
    deadline = time.monotonic() + balancer.READY_TIMEOUT_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if child.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((directory / "peer.log").read_text()) from None
            time.sleep(0.05)
