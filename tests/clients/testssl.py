"""testssl.sh against the default policy: no weakness, and a grade.

Of its sections those about the server's TLS are run: protocols, cipher categories, forward secrecy,
server's preference and defaults (with the chain), and all vulnerabilities. Left out are the HTTP
header, which is the target's, the simulation of clients, and each cipher on its own. The version of
Debian 12 (3.0.8) knows no grades: `grade` reckons it from its findings, by the rules of SSL Labs'
rating guide that apply here.
"""

import json
import re
import subprocess

from .demands import demand
from .setting import Setting

TIMEOUT_SECONDS = 400
SECTIONS = ["--protocols", "--std", "--fs", "--server-preference", "--server-defaults",
            "--vulnerable"]  # fmt: skip
NO_WEAKNESS = {"OK", "INFO"}
# Findings that are put up with, each with its reason.
PUT_UP_WITH = {
    "engine_problem": "of testssl.sh with OpenSSL 3, not of the server",
    "old_fart": "of testssl.sh with OpenSSL 3, not of the server",
    "sessionresumption_ticket": "its OpenSSL 3 fails to resume; see openssl-resumption",
}
MUST_BE_FOUND = {"TLS1_2", "TLS1_3", "ALPN_HTTP2", "PFS", "heartbleed", "ROBOT", "LUCKY13", "RC4"}


def weaknesses(findings: list[dict]) -> list[dict]:
    return [f for f in findings
            if f["severity"] not in NO_WEAKNESS and f["id"] not in PUT_UP_WITH]  # fmt: skip


def protocol_points(found: dict[str, str]) -> int:
    """The mean of the best and the worst protocol."""
    points = {"SSLv2": 0, "SSLv3": 80, "TLS1": 90, "TLS1_1": 95, "TLS1_2": 100, "TLS1_3": 100}
    offered = [points[name] for name in points if found.get(name, "").startswith("offered")]
    return (max(offered) + min(offered)) // 2


def exchange_points(found: dict[str, str]) -> int:
    """By the weakest key: of the certificate, or of the exchange."""
    bits = int(re.search(r"EC (\d+) bits", found["cert_keySize"])[1])
    # An elliptic curve of 256 bits is as strong as RSA with 3072: 90 points are for less than 4096.
    return 100 if bits >= 384 else 90 if bits >= 224 else 0


def cipher_points(ciphers: list[str]) -> int:
    """The mean of the strongest and the weakest cipher."""
    points = [100 if "256" in name else 80 for name in ciphers]
    return (max(points) + min(points)) // 2


def grade(found: dict[str, str], ciphers: list[str]) -> tuple[str, int]:
    """The letter, and its points of 100: protocols 30 %, exchange of keys 30 %, ciphers 40 %."""
    points = (
        30 * protocol_points(found) + 30 * exchange_points(found) + 40 * cipher_points(ciphers)
    ) // 100
    letters = ((80, "A"), (65, "B"), (50, "C"), (35, "D"), (20, "E"))
    letter = next((letter for least, letter in letters if points >= least), "F")
    # What lowers the grade whatever the points: old protocols, no forward secrecy, no AEAD.
    if any(found[old] != "not offered" for old in ("TLS1", "TLS1_1")) and letter == "A":
        letter = "B"
    if any(found[old] != "not offered" for old in ("SSLv2", "SSLv3")):
        letter = "F"
    return letter, points


def policy(setting: Setting) -> str:
    """No finding of a weakness, and grade A or better."""
    report = setting.directory / "testssl.json"
    done = subprocess.run(
        ["testssl", "--quiet", "--warnings", "batch", "--color", "0", "--nodns", "none",
         "--ip", "127.0.0.1", "--add-ca", setting.ca, "--jsonfile", str(report), *SECTIONS,
         f"https://localhost:{setting.port}/"],
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    demand(report.exists(), done.stdout[-3000:] + done.stderr)
    findings = json.loads(report.read_text())
    found = {f["id"].split(" ")[0]: f["finding"] for f in findings}
    missing = {name for name in MUST_BE_FOUND if name not in found}
    demand(not missing, f"testssl.sh did not say anything of {missing}: {sorted(found)}")
    weak = weaknesses(findings)
    demand(not weak, json.dumps(weak, indent=1))
    ciphers = [word for name, finding in found.items() if name.startswith("cipherorder_TLS")
               for word in finding.split()]  # fmt: skip
    letter, points = grade(found, ciphers)
    demand(letter == "A", f"grade {letter}, {points} points: {ciphers}")
    return f"{len(findings)} findings, none a weakness; grade {letter}, {points} points"


CHECKS = {"testssl": policy}
