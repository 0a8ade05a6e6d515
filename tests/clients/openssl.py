"""The command openssl s_client."""

import subprocess

from .demands import demand
from .setting import Setting

TIMEOUT_SECONDS = 60
REQUEST = b"GET /head HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def s_client(setting: Setting, *arguments: str, said: bytes = REQUEST) -> str:
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{setting.port}", "-servername", "localhost",
         "-CAfile", setting.ca, "-verify_return_error", *(["-ign_eof"] if said else []), *arguments],
        input=said, capture_output=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    return (done.stdout + done.stderr).decode(errors="replace")


def versions(setting: Setting) -> str:
    """TLS 1.2 and 1.3 with a chain that verifies; none older."""
    for version, cipher in (("1_3", "TLS_AES"), ("1_2", "ECDHE-ECDSA-AES")):
        told = s_client(setting, f"-tls{version}")
        demand("Verify return code: 0 (ok)" in told and "HTTP/1.1 200 OK" in told, told)
        demand(f"TLSv{version.replace('_', '.')}, Cipher is {cipher}" in told, told)
    told = s_client(setting, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    demand("Cipher is (NONE)" in told, told)
    return "TLS 1.3 and 1.2, not 1.1; the chain verifies"


def alpn(setting: Setting) -> str:
    """h2 where it is offered, http/1.1 where it is not; another one is refused."""
    for offered, wanted in (("h2,http/1.1", "h2"), ("http/1.1,h2", "h2"), ("http/1.1", "http/1.1")):
        told = s_client(setting, "-alpn", offered, said=b"")
        demand(f"ALPN protocol: {wanted}" in told, told)
    told = s_client(setting, "-alpn", "spdy/3", said=b"")
    demand("no application protocol" in told.lower(), told)
    return "h2 is preferred to http/1.1; what is neither is refused"


def resumption(setting: Setting) -> str:
    """A session is resumed, with both versions."""
    file = str(setting.directory / "session.pem")
    for version in ("-tls1_2", "-tls1_3"):
        demand("New, TLSv1" in s_client(setting, version, "-sess_out", file), "no session")
        told = s_client(setting, version, "-sess_in", file)
        demand("Reused, TLSv1" in told and "HTTP/1.1 200 OK" in told, told)
    return "TLS 1.2 and 1.3"


CHECKS = {"openssl-versions": versions, "openssl-alpn": alpn, "openssl-resumption": resumption}
