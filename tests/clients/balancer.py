"""The process under test: certificates for it, its start, what it uses, its end."""

import contextlib
import os
import pathlib
import queue
import signal
import subprocess
import tempfile
import threading
import time

READY_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 30
# Between two looks at what a process uses.
SAMPLE_SECONDS = 0.02
# Short-lived certificates are warned of, and so are those that live long.
DAYS = "90"


class Authority:
    """A certificate authority in a directory, by the command openssl: `ca.pem`, and a certificate
    for localhost and 127.0.0.1 in `server.pem` and `server.key`."""

    def __init__(self, directory: pathlib.Path):
        self.directory = directory
        self.ca = directory / "ca.pem"
        self.certificate = directory / "server.pem"
        self.key = directory / "server.key"
        extensions = directory / "extensions"
        extensions.write_text(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
            "extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n"
            # Where nobody looks, but a certificate without it counts as weak.
            "crlDistributionPoints=URI:http://localhost/crl\n"
        )
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        self._openssl(
            ["req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", DAYS]
            + ["-subj", "/CN=tests of ringway", "-addext", "keyUsage=critical,keyCertSign"]
        )
        self._openssl(["req", *curve, "-keyout", "server.key", "-out", "server.csr"]
                      + ["-subj", "/CN=localhost"])
        self._openssl(
            ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key"]
            + ["-CAcreateserial", "-out", "server.pem", "-days", DAYS, "-extfile", "extensions"]
        )

    def _openssl(self, arguments: list[str]) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.directory, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"openssl {arguments[0]} failed:\n{done.stderr}")

    def tls(self, more: str = "") -> str:
        """The key `tls` of a listener."""
        files = f'{{ certificate = "{self.certificate}", key = "{self.key}" }}'
        return f"tls = {{ certificates = [{files}]{more} }}"


class Process:
    """What a process uses, from /proc."""

    def __init__(self, pid: int):
        self.pid = pid

    def memory(self) -> int:
        """Bytes that it holds (PSS): its own, and its part of what it shares."""
        for line in pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no Pss in smaps_rollup")

    def resident(self) -> int:
        """Resident bytes: cheaper to ask for."""
        pages = pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def processor_seconds(self) -> float:
        """Processor time so far, of all its threads."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Meter:
    """Memory and processor time of a process while a block runs."""

    def __init__(self, process: Process):
        self.process = process
        self.grown = 0
        self.seconds = 0.0
        self._ended = threading.Event()

    def __enter__(self):
        self._memory, self._began = self.process.resident(), self.process.processor_seconds()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        self.grown = max(self.grown, self.process.resident() - self._memory)

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._sampler.join()
        self._look()
        self.seconds = self.process.processor_seconds() - self._began


class Balancer:
    """A running ringway, on the driver that RINGWAY_TEST_DRIVER names. Its listeners have port 0:
    the kernel chooses, and its stdout tells."""

    def __init__(self, binary: pathlib.Path, config: str, directory: pathlib.Path):
        self.addresses: dict[str, tuple[str, int]] = {}
        path = directory / "ringway.toml"
        if driver := os.environ.get("RINGWAY_TEST_DRIVER"):
            config = config.replace("[server]\n", f'[server]\ndriver = "{driver}"\n', 1)
        path.write_text(config)
        self._log = directory / "ringway.log"
        with self._log.open("wb") as log:
            self.child = subprocess.Popen(
                [binary, "run", "--config", path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=dict(os.environ, NO_COLOR="1"),
            )
        self.process = Process(self.child.pid)
        try:
            self._await_ready()
        except BaseException:
            self.child.kill()
            raise

    def _await_ready(self) -> None:
        lines: queue.Queue[str] = queue.Queue()

        def read() -> None:
            for line in self.child.stdout:
                lines.put(line)
            lines.put("")

        threading.Thread(target=read, daemon=True).start()
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while True:
            try:
                words = lines.get(timeout=max(0.0, deadline - time.monotonic())).split()
            except queue.Empty:
                raise SystemExit(f"ringway is not ready:\n{self.log()}") from None
            if not words:
                raise SystemExit(f"ringway has ended:\n{self.log()}")
            if words[0] == "ready":
                return
            if words[0] == "listening":
                host, port = words[3].rsplit(":", 1)
                self.addresses[words[1]] = (host, int(port))

    def log(self) -> str:
        """What it wrote to stderr so far."""
        return self._log.read_text(errors="replace")

    def port(self, listener: str) -> int:
        return self.addresses[listener][1]

    def stop(self) -> None:
        """Ends it; an error if it had ended before, or if it panicked."""
        ended = self.child.poll()
        if ended is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(timeout=STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
                raise SystemExit(f"ringway does not end:\n{self.log()}") from None
        if ended is not None or "panicked" in self.log():
            raise SystemExit(f"ringway has failed, status {ended}:\n{self.log()}")


@contextlib.contextmanager
def running(binary: pathlib.Path, config: str):
    """A `Balancer` with this configuration, and its end."""
    with tempfile.TemporaryDirectory() as directory:
        balancer = Balancer(binary, config, pathlib.Path(directory))
        try:
            yield balancer
        finally:
            balancer.stop()
