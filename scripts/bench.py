#!/usr/bin/env python3
"""Measures ringway, haproxy and nginx in front of the same targets. Start it by scripts/bench.sh.

A case is a load and a list of proxies. They all run at once, each with its load, and stand still but
for the one that is being measured: they take turns in slices of 20 ms, so that what else the machine
does meets all alike. Each round begins with new connections. Costs are medians over slices; a ratio
is the mean of the middle half of the ratios between slices that follow one another. There are rounds
until it is known well enough, or the time of a case is over. That time is spread over several passes
through all cases, each with fresh proxies, so that slow minutes of the machine fall on all cases.
docs/performance.md says how to read the result.
"""

import argparse
import collections
import dataclasses
import html
import json
import math
import os
import re
import resource
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
TARGETS = [19001, 19002]
GRPC_TARGET = 19003
HAPROXY_CONNECTIONS = 9000  # Each takes two files; below the limit that we raise to.
FILES = 20000
RULES = [1, 10, 100]
PEERS = ["haproxy", "nginx"]
REUSE_WORKERS = 4
REUSE_RATE = 200  # Requests per second, each on a client connection of its own.
REUSE_SECONDS = 5
WARM_UP = 0.25  # In front of each slice, of its length.
SLICE_CONNECTIONS = 256  # With more of them slices are longer, so that each has its turn.
ROUNDS_MIN = 4  # Before the ratios of rounds say how far they stray; where there is a bar.
ROUNDS_PLAIN = 2  # Where there is none.
LONG_SLICE = 5  # Times as long where a response is long: after idling TCP starts slowly again.
PASSES = 4
ROUNDS_MAX = 64
OPENING = 0.05  # Seconds for a load to open its connections, at least; and for each of them:
OPENING_EACH = 0.0003
ANSWER_MAX = 30  # Seconds for a slice to come to its end.
LATENCY_SECONDS = 0.1  # Of a slice in which one request in a thousand is looked for.
LATENCY_LESS = 2  # Times fewer of those in a round.
H2_REQUESTS = 4000  # Of one run of h2load, which counts as a slice.
H2_LESS = 5  # Times fewer of those in a round.
TUNED = ["haproxy-64k", "haproxy-splice", "nginx-64k"]
# Takes datagrams as fast as they come, as a log daemon would.
LOG_READER = """
import os, socket, sys
reader = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
reader.bind(sys.argv[1])
buffer = bytearray(1 << 16)
while os.getppid() != 1:
    reader.recv_into(buffer)
"""
WHAT = {"memory": "memory", "latency": "p99.9", "reuse": "connections"}
COLOURS = {"ringway": "#2b6cb0", "relay": "#718096", "haproxy": "#c05621", "nginx": "#2f855a"}


@dataclasses.dataclass
class Case:
    """One load. `bars` are (what it says, of which proxies, at most or at least, bound)."""

    name: str
    title: str
    connections: int = 64
    path: str = "/2"
    body: int = 0
    layer: str = "l7"
    new: bool = False
    proxies: tuple = ("ringway", "haproxy", "nginx")
    bars: tuple = ()
    kind: str = "load"  # load, latency, memory, reuse, h2, grpc
    tls: str = ""  # keep: TLS; full, resumed: a handshake per request, too
    streams: int = 0  # At once on each connection of HTTP/2.
    unit: str = "us/request"
    quick: bool = False
    size: int = 0  # Of a response that is many reads long.
    patience: int = 1  # Times --longest, where rounds differ more than elsewhere.


def better(bound, peers=None):
    """CPU of ringway over that of the cheapest of these peers (default: all)."""
    return ("CPU", peers, bound)


def sized(layer, size, name, bars, connections, **more):
    proxies = ("ringway", "haproxy", "nginx", *TUNED)
    title = f"{layer.upper()} {name} response"
    case = f"{layer}-{name.lower().replace(' ', '').replace('kib', 'k').replace('mib', 'm')}"
    many = size if size >= 256 * KIB else 0
    return Case(case, title, connections, f"/{size}", 0, layer, False, proxies, bars, size=many,
                **more)


def upload(size, name, connections):
    tuned = TUNED if size > KIB else ()
    return Case(f"l7-upload-{name}", f"L7 {name} request body", connections, "/2", size,
                "l7", False, ("ringway", *PEERS, *tuned))


def rate(bound):
    return ("rate", None, bound)


CASES = [
    Case("l7-small-8", "L7 small, c=8", 8, bars=(better(0.90),), quick=True),
    Case("l7-small-64", "L7 small, c=64", 64, bars=(better(0.66), rate(1.4)), quick=True,
         patience=3),
    Case("l7-small-256", "L7 small, c=256", 256, bars=(better(0.60), rate(1.4)), patience=5),
    Case("l7-small-1024", "L7 small, c=1,024", 1024, bars=(better(0.66), rate(1.4)), quick=True,
         patience=5),
    Case("l7-1k", "L7 1 KiB response", 64, "/1024", bars=(better(0.68),)),
    sized("l7", 16 * KIB, "16 KiB", (better(0.60),), 64, quick=True, patience=2),
    sized("l7", 256 * KIB, "256 KiB", (better(0.85), better(0.60, PEERS)), 16),
    sized("l7", MIB, "1 MiB", (better(0.85), better(0.60, PEERS)), 16, quick=True, patience=4),
    upload(KIB, "1k", 64),
    upload(16 * KIB, "16k", 64),
    upload(256 * KIB, "256k", 16),
    upload(MIB, "1m", 16),
    Case("l7-rules", "L7 small, 1, 10 and 100 rules (the last matches)", 64,
         proxies=tuple(f"ringway-rules-{rules}" for rules in RULES),
         bars=(("rules", None, 1.05),), quick=True),
    Case("l7-log", "L7 small, access log on; peers with theirs on, too", 64,
         proxies=("ringway", "ringway-log", "haproxy-log", "nginx-log"),
         bars=(("log", None, 1.08), ("logs", None, 0.66)), patience=2),
    Case("l7-new", "L7 new connection per request", 64, new=True, bars=(better(0.92),),
         quick=True),
    Case("l7-latency", "L7 small, latency at half of the slower peer's peak", 64, kind="latency",
         bars=(("p99.9", None, 1.0),), unit="us", quick=True, patience=5),
    Case("l4-small", "L4 small request/response", 64, layer="l4", bars=(better(0.98),),
         quick=True),
    sized("l4", 16 * KIB, "16 KiB", (better(1.0),), 16),
    sized("l4", 64 * KIB, "64 KiB", (better(0.97),), 16, quick=True),
    sized("l4", 256 * KIB, "256 KiB", (better(0.85),), 16),
    sized("l4", MIB, "1 MiB", (better(1.0),), 16, patience=4),
    Case("l4-bulk", "L4 bulk, 4 connections", 4, f"/{GIB}", layer="l4",
         proxies=("ringway", "haproxy", "nginx", "haproxy-splice"),
         bars=(better(1.05, ["haproxy-splice"]), better(0.5, ["nginx"])), unit="ms/GiB",
         quick=True, patience=4),
    Case("l7-cores", "L7 small, c=64, one worker per core, which load and targets share", 64,
         proxies=("ringway-cores", "haproxy-cores", "nginx-cores")),
    Case("l7-reuse", f"connections to targets, {REUSE_WORKERS} workers, {REUSE_RATE} requests/s", 8,
         new=True, kind="reuse", unit="opened per 1,000 requests",
         proxies=("ringway-reuse", "haproxy-reuse", "nginx-reuse")),
    Case("l7-idle", "memory of an idle keep-alive connection", 8000, kind="memory",
         bars=(("bytes", None, 1024),), unit="bytes", quick=True),
    Case("tls-keep", "HTTPS small, c=64", 64, tls="keep", bars=(better(0.75),), quick=True),
    Case("tls-16k", "HTTPS 16 KiB response", 64, "/16384", tls="keep"),
    Case("tls-full", "HTTPS, a full handshake per request (TLS 1.3, X25519, P-256)", 16, new=True,
         tls="full", bars=(better(1.0),), quick=True, patience=3),
    Case("tls-resumed", "HTTPS, a resumed handshake per request", 16, new=True, tls="resumed"),
    Case("h2-1", "HTTP/2 small, 64 connections of 1 stream", 64, kind="h2", streams=1),
    Case("h2-10", "HTTP/2 small, 8 connections of 10 streams", 8, kind="h2", streams=10),
    Case("h2-100", "HTTP/2 small, 4 connections of 100 streams", 4, kind="h2", streams=100,
         bars=(better(1.0),), quick=True, patience=5),
    Case("grpc", "gRPC unary, 4 connections of 10 streams", 4, kind="grpc", streams=10,
         proxies=("ringway-grpc", "haproxy-grpc", "nginx-grpc")),
    Case("floor", "whole L7 path over the bare relay", 64, proxies=("ringway", "relay"),
         bars=(better(1.12, ["relay"]),), quick=True),
]


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer, shorter cases: < 2 minutes")
    parser.add_argument("--case", action="append", default=[], metavar="NAME",
                        help="only this case; may be repeated")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--rounds", type=int,
                        help=f"times that connections are made anew, at most; default "
                             f"{ROUNDS_MAX}, with --quick 2")
    parser.add_argument("--passes", type=int,
                        help="over all cases, each with fresh proxies and its share of the rounds; "
                             f"default {PASSES}, with --quick 1")
    parser.add_argument("--longest", type=float, default=35, metavar="SECONDS",
                        help="after which a case has no further round, up to five times as many "
                             "where rounds differ most; default 35")
    parser.add_argument("--precision", type=float, default=0.01, metavar="PART",
                        help="standard error of a ratio that ends its rounds; default 0.01")
    parser.add_argument("--slices", type=int,
                        help="of each proxy in a round; default 40, with --quick 10")
    parser.add_argument("--seconds", type=float, default=0.02, help="of a slice; default 0.02")
    parser.add_argument("--runs", type=int, default=1,
                        help="the whole so many times; then says how well the ratios agree")
    parser.add_argument("--driver", default="auto", choices=["auto", "io_uring", "epoll"])
    parser.add_argument("--workers", type=int, default=1,
                        help="workers of each proxy, on that many cores; default 1")
    parser.add_argument("--before", metavar="BINARY",
                        help="another build of ringway, measured beside this one as ringway-before")
    parser.add_argument("--json", metavar="FILE", help="writes every figure of every round")
    parser.add_argument("--plots", metavar="DIR", default="target/bench",
                        help="where the SVG plots go; default target/bench")
    parser.add_argument("--limit", type=float, default=7200, help="gives up after so many seconds")
    parser.add_argument("--built", help=argparse.SUPPRESS)
    given = parser.parse_args()
    known = [case.name for case in CASES]
    for name in given.case:
        if name not in known:
            parser.error(f"no case {name}; there are {', '.join(known)}")
    given.rounds = given.rounds or (2 if given.quick else ROUNDS_MAX)
    given.passes = given.passes or (1 if given.quick else PASSES)
    given.slices = given.slices or (10 if given.quick else 40)
    given.before = given.before and os.path.abspath(given.before)
    return given


def built(path):
    """Executables by name, from cargo's messages."""
    found = {}
    with open(path, encoding="utf-8") as messages:
        for line in messages:
            message = json.loads(line) if line.startswith("{") else {}
            if message.get("executable"):
                found[message["target"]["name"]] = message["executable"]
    return found


def cores(workers):
    """(cores of the proxy, of the rest) as taskset writes them."""
    mine = sorted(os.sched_getaffinity(0))
    proxy, rest = mine[:workers], mine[workers:] or mine[-1:]
    return ",".join(map(str, proxy)), ",".join(map(str, rest))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(path):
    end = time.monotonic() + 10
    while not os.path.exists(path):
        if time.monotonic() > end:
            sys.exit(f"nobody makes {path}")
        time.sleep(0.01)


def descendants(pid):
    """`pid` and the processes below it."""
    tree = [pid]
    for parent in tree:
        try:
            with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as children:
                tree += map(int, children.read().split())
        except OSError:
            pass
    return tree


def pss(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as lines:
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * KIB


class Bench:
    """What runs, and how to end it."""

    def __init__(self, given, programs, folder):
        self.given, self.programs, self.folder = given, programs, folder
        self.proxy_cores, self.load_cores = cores(given.workers)
        self.all_cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        self.running = {}  # name: (process, port by layer)
        self.started = time.monotonic()

    def spawn(self, where, command, **more):
        log = open(os.path.join(self.folder, "log"), "a", encoding="utf-8")
        return subprocess.Popen(["taskset", "-c", where, *command], stdout=more.pop("stdout", log),
                                stderr=log, cwd=self.folder, **more)

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def start(self, name, command, ports, where):
        process = self.spawn(where, command)
        self.running[name] = (process, ports)
        end = time.monotonic() + 10
        for port in ports.values():
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > end:
                        with open(os.path.join(self.folder, "log"), encoding="utf-8") as log:
                            sys.exit(f"{name} does not start:\n{log.read()[-2000:]}")
                    time.sleep(0.05)

    def make_certificate(self):
        """For all proxies and the load: ECDSA P-256, of its own authority."""
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                   "ec_paramgen_curve:P-256", "-nodes", "-days", "90", "-subj", "/CN=bench",
                   "-addext", "subjectAltName=IP:127.0.0.1",
                   "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem",
                   "-out", "cert.pem"]
        subprocess.run(command, cwd=self.folder, check=True, stderr=subprocess.DEVNULL)
        texts = []
        for name in ("cert.pem", "key.pem"):
            os.chmod(os.path.join(self.folder, name), 0o644)
            with open(os.path.join(self.folder, name), encoding="ascii") as file:
                texts.append(file.read())
        self.write("both.pem", "".join(texts))

    def start_targets(self):
        addresses = [f"127.0.0.1:{port}" for port in TARGETS]
        ports = dict(enumerate(TARGETS))
        self.start("targets", [self.programs["target"], *addresses], ports, self.load_cores)

    def start_grpc_target(self):
        """What answers any call with five bytes and a trailer: an empty message."""
        if "grpc target" in self.running:
            return
        folder = os.path.join(self.folder, "calls")
        os.makedirs(folder, exist_ok=True)
        for name in ("message", "calls/2"):
            with open(os.path.join(self.folder, name), "wb") as file:
                file.write(bytes(5))
        command = ["nghttpd", "--no-tls", "-d", folder, "--trailer=grpc-status: 0",
                   "-a", "127.0.0.1", str(GRPC_TARGET)]
        self.start("grpc target", command, {"grpc": GRPC_TARGET}, self.load_cores)

    def proxy(self, name):
        """Starts the proxy `name` unless it runs; returns its processes and ports."""
        if name not in self.running:
            ports = {layer: free_port() for layer in ("l7", "l4", "tls")}
            kind, _, variant = name.partition("-")
            if kind == "relay":
                del ports["l4"], ports["tls"]
            command = getattr(self, kind)(variant, ports, name)
            everywhere = variant in ("cores", "reuse")
            self.start(name, command, ports, self.all_cores if everywhere else self.proxy_cores)
        process, ports = self.running[name]
        return descendants(process.pid), ports

    def workers(self, variant):
        of = {"cores": len(os.sched_getaffinity(0)), "reuse": REUSE_WORKERS}
        return of.get(variant, self.given.workers)

    def ringway(self, variant, ports, name):
        targets = ", ".join(f'"127.0.0.1:{port}"' for port in TARGETS)
        rules = ""
        if variant.startswith("rules-"):
            count = int(variant.removeprefix("rules-"))
            rules = "".join(
                f'[[listeners.rules]]\npriority = {n}\npath_pattern = "/app-{n}/*"\n'
                'forward = "all"\n'
                for n in [*range(1, count), 1000])
        log = f'access_log = "{self.folder}/{name}.log"' if variant == "log" else ""
        version = 'protocol_version = "GRPC"' if variant == "grpc" else ""
        targets = f'"127.0.0.1:{GRPC_TARGET}"' if variant == "grpc" else targets
        text = f"""[server]
workers = {self.workers(variant)}
driver = "{self.given.driver}"
drain_timeout = "1s"
control = {{ socket = "{self.folder}/{name}.sock" }}
[[target_groups]]
name = "all"
{version}
targets = [{targets}]
[target_groups.health_check]
enabled = false
[[listeners]]
name = "l4"
address = "127.0.0.1:{ports['l4']}"
mode = "l4"
default = {{ forward = "all" }}
[[listeners]]
name = "l7"
address = "127.0.0.1:{ports['l7']}"
default = {{ forward = "all" }}
{log}
{rules}
[[listeners]]
name = "tls"
address = "127.0.0.1:{ports['tls']}"
tls = {{ certificates = [{{ certificate = "{self.folder}/cert.pem", key = "{self.folder}/key.pem" }}] }}
default = {{ forward = "all" }}
"""
        program = self.given.before if variant == "before" else self.programs["ringway"]
        return [program, "run", "--config", self.write(f"{name}.toml", text)]

    def haproxy(self, variant, ports, name):
        tune = "tune.bufsize 65536\n" if variant == "64k" else ""
        splice = "option splice-request\n option splice-response\n" if variant == "splice" else ""
        log, logs = "", ""
        if variant == "log":
            socket_path = os.path.join(self.folder, f"{name}.sock")
            if os.path.exists(socket_path):
                os.unlink(socket_path)  # Of the pass before.
            reader = [sys.executable, "-c", LOG_READER, socket_path]
            self.running[f"{name}-reader"] = (self.spawn(self.load_cores, reader), {})
            wait_for(socket_path)
            log, logs = f"log {socket_path} len 4096 local0", "log global\n option httplog"
        servers = "".join(f" server t{port} 127.0.0.1:{port}\n" for port in TARGETS)
        l7_servers = servers
        if variant == "grpc":
            l7_servers = f" server grpc 127.0.0.1:{GRPC_TARGET} proto h2\n"
        text = f"""global
 nbthread {self.workers(variant)}
 maxconn {HAPROXY_CONNECTIONS}
 maxpipes 256
 tune.pipesize 1048576
 {tune}
 {log}
defaults
 {logs}
 timeout connect 10s
 timeout client 300s
 timeout server 300s
 timeout http-keep-alive 300s
 {splice}
frontend l7
 mode http
 bind 127.0.0.1:{ports['l7']}
 bind 127.0.0.1:{ports['tls']} ssl crt {self.folder}/both.pem alpn h2,http/1.1
 default_backend l7
backend l7
 mode http
 balance roundrobin
 http-reuse always
 option forwardfor
 http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
 http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}
 http-request set-header X-Forwarded-Port %[dst_port]
{l7_servers}
frontend l4
 mode tcp
 bind 127.0.0.1:{ports['l4']}
 default_backend l4
backend l4
 mode tcp
 balance roundrobin
{servers}"""
        return ["haproxy", "-db", "-f", self.write(f"{name}.cfg", text)]

    def nginx(self, variant, ports, name):
        servers = "".join(f"server 127.0.0.1:{port};" for port in TARGETS)
        http = "proxy_buffer_size 64k; proxy_buffers 16 64k; proxy_busy_buffers_size 128k; " \
               "client_body_buffer_size 64k;" if variant == "64k" else ""
        stream = "proxy_buffer_size 64k;" if variant == "64k" else ""
        log = "off"
        if variant == "log":
            log = f"{self.folder}/{name}.log combined buffer=64k flush=1s"
        upstream = "proxy_pass http://targets; proxy_http_version 1.1; " \
                   'proxy_set_header Connection "";'
        if variant == "grpc":
            servers, upstream = f"server 127.0.0.1:{GRPC_TARGET};", "grpc_pass grpc://targets;"
        module = "/usr/lib/nginx/modules/ngx_stream_module.so"
        load = f"load_module {module};" if os.path.exists(module) else ""
        text = f"""{load}
daemon off; worker_processes {self.workers(variant)}; worker_rlimit_nofile {FILES};
pid {self.folder}/{name}.pid; error_log stderr crit;
events {{ worker_connections {FILES}; }}
http {{
 access_log {log}; tcp_nodelay on; client_max_body_size 0;
 keepalive_timeout 300s; keepalive_requests 1000000000;
 client_body_temp_path {self.folder}/body; proxy_temp_path {self.folder}/proxy;
 fastcgi_temp_path {self.folder}/f; uwsgi_temp_path {self.folder}/u; scgi_temp_path {self.folder}/s;
 proxy_request_buffering off; proxy_max_temp_file_size 0; {http}
 upstream targets {{ {servers} keepalive 1024; keepalive_requests 1000000000; }}
 server {{
  listen 127.0.0.1:{ports['l7']} backlog=65535;
  listen 127.0.0.1:{ports['tls']} ssl http2 backlog=65535;
  ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_protocols TLSv1.2 TLSv1.3;
  http2_max_concurrent_streams 128;
  location / {{
   {upstream}
   proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;
   proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
   proxy_set_header X-Forwarded-Port $server_port;
  }}
 }}
}}
stream {{
 access_log off; tcp_nodelay on; {stream}
 upstream targets {{ {servers} }}
 server {{ listen 127.0.0.1:{ports['l4']} backlog=65535; proxy_pass targets; }}
}}
"""
        path = self.write(f"{name}.conf", text)
        return ["nginx", "-p", self.folder, "-e", "stderr", "-c", path]

    def relay(self, _variant, ports, _name):
        addresses = [f"127.0.0.1:{port}" for port in (ports["l7"], TARGETS[0])]
        return [self.programs["relay"], *addresses]

    def load_command(self, case, name):
        pids, ports = self.proxy(name)
        path = case.path
        if "-rules-" in name:
            path = "/app-1000/page"
        layer = "tls" if case.tls else case.layer
        command = [self.programs["load"], f"127.0.0.1:{ports[layer]}",
                   "--connections", str(case.connections), "--path", path,
                   "--body", str(case.body)]
        command += [part for pid in pids for part in ("--watch", str(pid))]
        command += ["--tls", os.path.join(self.folder, "cert.pem")] if case.tls else []
        command += ["--full-handshakes"] if case.tls == "full" else []
        return command + (["--new-connections"] if case.new else [])

    def load(self, case, name, rate=None):
        """A load in front of a proxy, with its connections open, that waits for its slices."""
        seconds, _ = slices_of(self.given, case)
        command = self.load_command(case, name) + ["--slices", "--seconds", str(seconds),
                                                   "--warm-up", str(seconds * WARM_UP)]
        command += ["--rate", str(rate)] if rate else []
        return self.spawn(self.load_cores, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def slice(self, case, load):
        load.stdin.write(b"\n")
        load.stdin.flush()
        if not select.select([load.stdout], [], [], ANSWER_MAX)[0]:
            sys.exit(f"{case.name}: a load says nothing")
        return self.figures(case, json.loads(load.stdout.readline()))

    def once(self, case, name, rate, seconds):
        """One longer window with connections of its own."""
        command = self.load_command(case, name) + ["--warm-up", "0.3", "--seconds", str(seconds)]
        command += ["--rate", str(rate)] if rate else []
        process = self.spawn(self.load_cores, command, stdout=subprocess.PIPE)
        try:
            output, _ = process.communicate(timeout=seconds + 20)
        finally:
            end(process)
        return self.figures(case, json.loads(output))

    def h2load(self, case, name):
        """A run of h2load; all processor time of the proxy in it counts."""
        pids, ports = self.proxy(name)
        uri = f"https://127.0.0.1:{ports['tls']}{case.path}"
        command = ["h2load", "-n", str(H2_REQUESTS), "-c", str(case.connections),
                   "-m", str(case.streams), "--npn-list", "h2",
                   "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256", "--groups", "X25519"]
        if case.kind == "grpc":
            command += ["-d", os.path.join(self.folder, "message"), "-H", "te: trailers",
                        "-H", "content-type: application/grpc"]
        before, began = processor_seconds(pids), time.monotonic()
        done = subprocess.run(["taskset", "-c", self.load_cores, *command, uri], text=True,
                              capture_output=True, check=False, timeout=ANSWER_MAX)
        seconds, used = time.monotonic() - began, processor_seconds(pids) - before
        succeeded = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", done.stdout)
        answers = re.search(r"status codes: (\d+) 2xx", done.stdout)
        if not succeeded or not answers or "protocol: h2" not in done.stdout:
            sys.exit(f"{case.name}: h2load says\n{done.stdout}{done.stderr}")
        return self.figures(case, {
            "requests": int(answers[1]), "errors": H2_REQUESTS - int(answers[1]), "bytes": 0,
            "seconds": seconds, "cpu_seconds": used, "latencies": []})

    def figures(self, case, result):
        divisor = result["requests"]
        if case.size:
            # Of the responses at both ends of a slice only a part was sent in it.
            divisor = result["bytes"] / case.size
        if case.unit == "ms/GiB":
            divisor = result["bytes"] / GIB * 1e3
        result["rate"] = result["requests"] / result["seconds"]
        result["cpu"] = result["cpu_seconds"] * 1e6 / divisor if divisor else float("nan")
        result["busy"] = result["cpu_seconds"] / result["seconds"]
        if case.kind == "latency":
            result["cpu"] = quantiles(dict(result["latencies"])).get("p999", float("nan"))
        result["gib_per_second"] = result["bytes"] / GIB / result["seconds"]
        return result

    def idle_memory(self, case, name):
        """PSS that each further connection costs, in a fresh process of the proxy: the first
        eighth only brings it to its working size."""
        count = 4000 if self.given.quick else case.connections
        settle = 3 if self.given.quick else 6
        self.stop(name)
        pids, _ = self.proxy(name)
        holders, sizes, held = [], [], {"held": 0, "errors": 0}
        try:
            for connections in (count // 8, count - count // 8):
                part = dataclasses.replace(case, connections=connections)
                holders.append(self.spawn(self.load_cores, self.load_command(part, name) + ["--hold"],
                                          stdin=subprocess.PIPE, stdout=subprocess.PIPE))
                held = json.loads(holders[-1].stdout.readline())
                time.sleep(settle)
                sizes.append(pss(pids))
        finally:
            for holder in holders:
                end(holder)
        return {"cpu": (sizes[1] - sizes[0]) / max(1, held["held"]), **held}

    def reuse(self, case, name):
        """Connections that a fresh proxy opens to its targets per 1,000 requests of a low load."""
        self.stop(name)
        self.proxy(name)
        before = self.accepted()
        result = self.once(case, name, REUSE_RATE, REUSE_SECONDS)
        # Asking was a connection, too.
        opened = self.accepted() - before - len(TARGETS)
        result["cpu"] = opened * 1000 / max(1, result["requests"])
        return result

    def accepted(self):
        """Connections that the targets have taken."""
        urls = [f"http://127.0.0.1:{port}/accepted" for port in TARGETS]
        return sum(int(urllib.request.urlopen(url, timeout=5).read()) for url in urls)

    def stop(self, name):
        if name in self.running:
            end(self.running.pop(name)[0])

    def stop_proxies(self):
        for name in list(self.running):
            if name != "targets":
                self.stop(name)

    def stop_all(self):
        for name in list(self.running):
            self.stop(name)

    def out_of_time(self):
        return time.monotonic() - self.started > self.given.limit


def end(process):
    """Ends what we started, by its id, and waits for it."""
    if process.poll() is None:
        tree = descendants(process.pid)
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            for pid in tree:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            process.wait(5)
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def processor_seconds(pids):
    """Of all threads of these processes, as the kernel accounts it."""
    total = 0
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
    return total / 1e9


@dataclasses.dataclass
class Sample:
    """What is known of a case."""

    case: Case
    slices: dict  # {proxy: [figures]}
    latencies: dict  # {proxy: {nanoseconds: how often}}, of all slices together
    rounds: int = 0
    seconds: float = 0.0  # That it took.


def measure(bench, sample, share):
    """Rounds of a case until this share of its time is over, or it is known; one at least."""
    case, slices, given = sample.case, sample.slices, bench.given
    if case.kind in ("memory", "reuse"):
        for name in case.proxies:
            one = bench.idle_memory if case.kind == "memory" else bench.reuse
            if not slices[name]:
                slices[name].append(one(case, name))
                slices[name][0].pop("latencies", None)
        return
    least, most = ROUNDS_MIN if case.bars else ROUNDS_PLAIN, math.ceil(given.rounds * share)
    if sample.rounds >= most or (not case.bars and sample.rounds >= least):
        return
    began = time.monotonic() - sample.seconds
    if case.kind == "grpc":
        bench.start_grpc_target()
    for name in case.proxies:
        bench.proxy(name)
    rate_ = half_the_peak(bench, case) if case.kind == "latency" else None
    # The first round is not counted: a fresh proxy has pipes to open and memory to ask for.
    round_(bench, case, rate_, 0, {name: [] for name in case.proxies}, less=4)
    while sample.rounds < most and not bench.out_of_time():
        tell(f"{case.name}: round {sample.rounds + 1} of at most {given.rounds}")
        round_(bench, case, rate_, sample.rounds, slices)
        sample.rounds += 1
        for name, results in slices.items():
            for result in results:
                for value, count in result.pop("latencies", []):
                    sample.latencies[name][value] += count
        known = sample.rounds >= least and uncertainty(bench, case, slices) < given.precision
        if known or time.monotonic() - began > given.longest * case.patience * share:
            break
    sample.seconds = time.monotonic() - began


def half_the_peak(bench, case):
    """Of the slower peer, in requests per second."""
    case = dataclasses.replace(case, kind="load", proxies=tuple(PEERS))
    slices = {name: [] for name in PEERS}
    for number in range(2):
        round_(bench, case, None, number, slices)
    return min(median(results, "rate") for results in slices.values()) / 2


def slices_of(given, case):
    """(seconds of one, how many in a round)"""
    if case.kind == "latency":
        return LATENCY_SECONDS, max(1, given.slices // LATENCY_LESS)
    if case.kind in ("h2", "grpc"):
        return given.seconds, max(1, given.slices // H2_LESS)
    longer = max(1, case.connections // SLICE_CONNECTIONS)
    if case.size >= MIB or case.unit == "ms/GiB":
        longer = LONG_SLICE
    return given.seconds * longer, max(1, given.slices // longer)


def uncertainty(bench, case, slices):
    """Standard error of the worst known ratio that has a bar, as a part of it; 0 without one."""
    _, each = slices_of(bench.given, case)
    medians, worst = medians_of(case, slices), 0
    for one, other, key in filter(None, (parts(case, bar, medians) for bar in case.bars)):
        pairs = list(zip(slices[one], slices[other]))
        of_rounds = [ratio(case, pairs[at:at + each], key) for at in range(0, len(pairs), each)]
        error = statistics.stdev(of_rounds) / math.sqrt(len(of_rounds))
        worst = max(worst, error / statistics.mean(of_rounds))
    return worst


def round_(bench, case, rate_, number, slices, less=1):
    """Slices of all proxies in turn, over connections that last as long as the round."""
    loads = {}
    _, count = slices_of(bench.given, case)
    try:
        if case.kind not in ("h2", "grpc"):
            loads = {name: bench.load(case, name, rate_) for name in case.proxies}
            time.sleep(OPENING + OPENING_EACH * case.connections * len(loads))
        for at in range(max(1, count // less)):
            # Another one goes first each time: no place in the order is an advantage.
            first = (number + at) % len(case.proxies)
            for name in case.proxies[first:] + case.proxies[:first]:
                if loads:
                    slices[name].append(bench.slice(case, loads[name]))
                else:
                    slices[name].append(bench.h2load(case, name))
    finally:
        for load in loads.values():
            end(load)


def tell(text):
    if sys.stderr.isatty():
        print(f"\r{text.ljust(70)}", end="\r", file=sys.stderr, flush=True)


def quantiles(counts):
    """Of latencies, {nanoseconds: how often}, in microseconds."""
    total, seen, found = sum(counts.values()), 0, {}
    wanted = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)]
    for value in sorted(counts):
        seen += counts[value]
        while wanted and seen >= wanted[0][1] * total:
            found[wanted.pop(0)[0]] = value / 1e3
    return found


def median(results, key):
    values = [result[key] for result in results if key in result]
    # A slice in which nothing was answered has no cost.
    values = [value for value in values if not math.isnan(value)]
    return statistics.median(values) if values else float("nan")


def middle(values):
    """Mean of the middle half: as deaf to a slice that was disturbed as the median, and surer."""
    values = sorted(values)
    quarter = len(values) // 4
    return statistics.mean(values[quarter:len(values) - quarter]) if values else float("nan")


def ratio(case, pairs, key):
    """Of slices of one proxy to those of another."""
    if case.kind == "latency":
        return quieter([one for one, _ in pairs]) / quieter([other for _, other in pairs])
    # Of one turn each: what slows the machine down is in both.
    ratios = [one[key] / other[key] for one, other in pairs if other.get(key)]
    return middle([each for each in ratios if not math.isnan(each)])


def quieter(results):
    """Mean p99.9 of the quieter half of slices: where the whole machine stalls for a millisecond,
    as a virtual one does a few times a second, a slice says that and nothing of the proxy."""
    values = sorted(result["cpu"] for result in results if not math.isnan(result["cpu"]))
    return statistics.mean(values[:len(values) // 2 + 1]) if values else float("nan")


def parts(case, bar, medians):
    """What a bar compares: (one, other, key), `None` where it is no ratio."""
    what, peers, _ = bar
    names = [name for name in (peers or medians)
             if name in medians and not name.startswith("ringway")]
    cheapest = lambda of: min(of, key=lambda name: medians[name]["cpu"])
    if what == "rules":
        return f"ringway-rules-{RULES[-1]}", f"ringway-rules-{RULES[0]}", "cpu"
    if what == "log":
        return "ringway-log", "ringway", "cpu"
    if what == "logs":
        return "ringway-log", cheapest([f"{peer}-log" for peer in PEERS]), "cpu"
    if what == "bytes":
        return None
    if what == "rate":
        return "ringway", max(names, key=lambda name: medians[name]["rate"]), "rate"
    return case.proxies[0], cheapest(names), "cpu"


def verdicts(case, rounds, medians):
    """(bar, measured, met) for each bar of a case."""
    found = []
    for bar in case.bars:
        what, _, bound = bar
        compared = parts(case, bar, medians)
        if compared is None:
            measured = medians["ringway"]["cpu"]
            found.append((f"<= {bound} bytes", measured, measured <= bound))
            continue
        one, other, key = compared
        measured = ratio(case, list(zip(rounds[one], rounds[other])), key)
        met = measured <= bound
        if what == "rate":
            known = medians["ringway"]["busy"] >= 0.95 or measured >= bound
            met = measured >= bound if known else None
        label = {"rules": f"100 rules over 1 <= {bound}",
                 "log": f"log on over off <= {bound}",
                 "logs": f"log on, CPU <= {bound} of {other}",
                 "rate": f"requests/s >= {bound} of {other}"}
        found.append((label.get(what, f"{what} <= {bound} of {other}"), measured, met))
    return found


def table(results):
    lines = ["| case | proxy | cost | requests/s | core busy | p50 / p99 / p99.9 us | errors |",
             "|---|---|---|---|---|---|---|"]
    bars = ["| case | bar | measured | |", "|---|---|---|---|"]
    words = {True: "met", False: "NOT MET", None: "load-bound: the proxy's core was not busy"}
    for case, rounds, medians in results:
        for name, m in medians.items():
            if case.kind in ("memory", "reuse"):
                lines.append(f"| {case.name} | {name} | {m['cpu']:.4g} {case.unit} | | | | "
                             f"{m['errors']:.0f} |")
                continue
            latencies = ""
            if "p50" in m:
                latencies = f"{m['p50']:.0f} / {m['p99']:.0f} / {m['p999']:.0f}"
            lines.append(
                f"| {case.name} | {name} | {m['cpu']:.2f} {case.unit} | {m['rate']:,.0f} | "
                f"{m['busy']:.2f} | {latencies} | {m['errors']:.0f} |")
        if "ringway-before" in rounds:
            measured = ratio(case, list(zip(rounds["ringway"], rounds["ringway-before"])), "cpu")
            bars.append(f"| {case.name} | CPU of ringway-before | {measured:.3g} | |")
        for bar, measured, met in verdicts(case, rounds, medians):
            bars.append(f"| {case.name} | {bar} | {measured:.3g} | {words[met]} |")
    return "\n".join(lines + [""] + bars)


def plot(case, medians):
    """An SVG of bars: the cost of each proxy, and how many times ours it is."""
    row, left, width = 34, 150, 460
    ours = (medians.get("ringway") or next(iter(medians.values())))["cpu"]
    largest = max(m["cpu"] for m in medians.values()) or 1
    height = 50 + row * len(medians)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 170}" '
             f'height="{height}" font-family="sans-serif" font-size="13">',
             f'<rect width="100%" height="100%" fill="white"/>',
             f'<text x="12" y="24" font-size="15" font-weight="bold">{html.escape(case.title)}: '
             f'{WHAT.get(case.kind, "CPU")}, {html.escape(case.unit)}</text>']
    for at, (name, m) in enumerate(medians.items()):
        y, length = 40 + at * row, max(1, width * m["cpu"] / largest)
        colour = COLOURS.get(name.split("-")[0], "#555555")
        parts += [f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{name}</text>',
                  f'<rect x="{left}" y="{y}" width="{length:.0f}" height="24" fill="{colour}"/>',
                  f'<text x="{left + length + 8:.0f}" y="{y + 17}">{m["cpu"]:.4g} '
                  f'({m["cpu"] / ours:.2f} x)</text>']
    return "\n".join(parts + ["</svg>", ""])


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        model = next((l.split(":")[1].strip() for l in lines if l.startswith("model name")), "?")
    versions = [subprocess.run(command, capture_output=True, text=True, check=False)
                for command in (["haproxy", "-v"], ["nginx", "-v"])]
    texts = [(v.stdout + v.stderr).split("\n")[0] for v in versions]
    return {"cores": len(os.sched_getaffinity(0)), "cpu": model, "kernel": os.uname().release,
            "haproxy": texts[0], "nginx": texts[1], "when": time.strftime("%F %T")}


def medians_of(case, rounds):
    """Medians over slices; where latency is measured, what counts instead of a cost."""
    found = {}
    for name, results in rounds.items():
        if results:
            found[name] = {key: median(results, key) for key in results[0]}
            found[name]["errors"] = sum(result["errors"] for result in results)
            if case.kind == "latency":
                found[name]["cpu"] = quieter(results)
    return found


def main():
    given = arguments()
    cases = [c for c in CASES if c.name in given.case] if given.case else \
        [c for c in CASES if c.quick or not given.quick]
    if given.before:
        cases = [dataclasses.replace(c, proxies=(*c.proxies, "ringway-before"))
                 if "ringway" in c.proxies else c for c in cases]
    if given.list:
        return print("\n".join(f"{case.name:16}{case.title}" for case in CASES))
    if not given.built:
        sys.exit("start it by scripts/bench.sh, which builds what is measured")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    if files < FILES:
        sys.exit(f"needs {FILES} open files: raise the limit (`ulimit -Hn {FILES}`)")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    about = machine()
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    folder = tempfile.mkdtemp(prefix="ringway-bench-")
    os.chmod(folder, 0o755)
    bench = Bench(given, built(given.built), folder)
    runs = []
    try:
        bench.make_certificate()
        bench.start_targets()
        for number in range(given.runs):
            if given.runs > 1:
                print(f"run {number + 1} of {given.runs}")
            runs.append(run(bench, cases))
    finally:
        bench.stop_all()
        shutil.rmtree(folder, ignore_errors=True)
        if given.json:
            with open(given.json, "w", encoding="utf-8") as file:
                json.dump(report(given, about, runs), file, indent=1)
    for results in runs:
        print("\n" + table(results))
    if given.runs > 1:
        print("\n" + agreement(runs))
    print(f"\nplots in {given.plots}; {time.monotonic() - bench.started:.0f} s")


def run(bench, cases):
    """Measures and plots all cases once: [(case, rounds, medians)]."""
    samples = [Sample(case, {name: [] for name in case.proxies},
                      {name: collections.Counter() for name in case.proxies}) for case in cases]
    results, passes = [], bench.given.passes
    os.makedirs(bench.given.plots, exist_ok=True)
    for number in range(1, passes + 1):
        if passes > 1:
            print(f"pass {number} of {passes}", flush=True)
        for sample in samples:
            measure(bench, sample, number / passes)
            medians = medians_of(sample.case, sample.slices)
            cost = ", ".join(f"{name} {m['cpu']:.4g}" for name, m in medians.items())
            print(f"{sample.case.name}: {cost} {sample.case.unit}", flush=True)
        bench.stop_proxies()
    for sample in samples:
        case, medians = sample.case, medians_of(sample.case, sample.slices)
        if len(medians) < len(case.proxies):
            print(f"{case.name}: out of time, left out")
            continue
        for name, m in medians.items():
            m.update(quantiles(sample.latencies[name]))
        results.append((case, sample.slices, medians))
        path = os.path.join(bench.given.plots, f"{case.name}.svg")
        with open(path, "w", encoding="utf-8") as svg:
            svg.write(plot(case, medians))
    return results


def report(given, about, runs):
    """Every figure, for --json."""
    return {"machine": about, "rounds": given.rounds, "slices": given.slices,
            "passes": given.passes, "seconds": given.seconds, "precision": given.precision,
            "longest": given.longest,
            "driver": given.driver,
            "runs": [{case.name: {"rounds": rounds, "medians": medians,
                                  "bars": verdicts(case, rounds, medians)}
                      for case, rounds, medians in results} for results in runs]}


def agreement(runs):
    """Each ratio of each run, and how far it strays from their median. The best peer may be
    another one in each run where two are equally good."""
    lines = ["| case | bar | median | runs | strays by |", "|---|---|---|---|---|"]
    found = {}
    for results in runs:
        for case, rounds, medians in results:
            for at, (bar, measured, _) in enumerate(verdicts(case, rounds, medians)):
                found.setdefault((case.name, at), []).append((bar, measured))
    for (name, _), seen in found.items():
        values = [measured for _, measured in seen]
        middle = statistics.median(values)
        stray = max(abs(value / middle - 1) for value in values)
        each = ", ".join(f"{value:.3g}" for value in values)
        lines.append(f"| {name} | {seen[0][0]} | {middle:.3g} | {each} | {stray:.1%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
