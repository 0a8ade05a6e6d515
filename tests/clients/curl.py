"""The command curl."""

import subprocess

from .demands import demand
from .setting import Setting

TIMEOUT_SECONDS = 60
SHOWN = "%{http_version} %{response_code} %{size_download} %{num_connects}\n"


def curl(setting: Setting, *arguments: str) -> list[str]:
    """What SHOWN says of each transfer."""
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--cacert", setting.ca, "--max-time", "30",
         "--write-out", SHOWN, *arguments],
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    demand(done.returncode == 0, f"curl {arguments}: {done.returncode} {done.stderr}")
    return done.stdout.splitlines()


def versions(setting: Setting) -> str:
    """HTTP/2 and HTTP/1.1 over TLS, and HTTP/2 with prior knowledge without."""
    sink = ["--output", "/dev/null"]
    plain = f"http://localhost:{setting.balancer.port('plain')}/bytes/100000"
    for version, url, wanted in (
        ("--http2", f"{setting.url}/bytes/100000", "2 200 100000 1"),
        ("--http1.1", f"{setting.url}/bytes/100000", "1.1 200 100000 1"),
        ("--http2-prior-knowledge", plain, "2 200 100000 1"),
        ("--http1.1", plain, "1.1 200 100000 1"),
    ):
        told = curl(setting, version, *sink, url)
        demand(told == [wanted], f"{version} {url}: {told}, not {wanted}")
    return "HTTP/2 and HTTP/1.1, over TLS and plain"


def parallel(setting: Setting) -> str:
    """50 transfers at once over one connection, then one after the other."""
    url = f"{setting.url}/bytes/[1000-1049]"
    for more in (["--parallel", "--parallel-max", "50"], []):
        told = curl(setting, "--http2", *more, "--output", "/dev/null", url)
        statuses = {line.rsplit(" ", 2)[0] for line in told}
        connections = sum(int(line.rsplit(" ", 1)[1]) for line in told)
        demand(len(told) == 50 and statuses == {"2 200"}, told)
        demand(more or connections == 1, f"{connections} connections, one after the other")
    return "50 at once, and 50 over one connection"


def upload(setting: Setting) -> str:
    """8 MiB up and down again, with both versions."""
    body, back = setting.directory / "up", setting.directory / "down"
    body.write_bytes(bytes(n * 31 % 251 for n in range(8192)) * 1024)
    for version in ("--http2", "--http1.1"):
        curl(setting, version, "--data-binary", f"@{body}", "--output", str(back),
             f"{setting.url}/echo")
        demand(back.read_bytes() == body.read_bytes(), f"{version}: the echo is another")
        back.unlink()
    return "8 MiB came back as they were"


CHECKS = {"curl-versions": versions, "curl-parallel": parallel, "curl-upload": upload}
