"""Clients that people use, through ringway: openssl, curl, httpx, Node, Chromium, grpcio, testssl.sh.

    scripts/test-clients.sh --install
    target/clients/bin/python tests/real_clients.py [--binary target/debug/ringway]
        --list            names the checks, and what each demands
        --only NAME       runs those whose name contains this; may be given several times

They share one ringway with an HTTPS listener and a plain one with h2c (tests/clients/setting.py). The
exit status is 0 only if every check passed.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

from clients import browser, curl, demands, grpc_calls, node_ws, openssl, python_httpx, setting
from clients import testssl

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHECKS = {
    **openssl.CHECKS,
    **curl.CHECKS,
    **python_httpx.CHECKS,
    **node_ws.CHECKS,
    **browser.CHECKS,
    **grpc_calls.CHECKS,
    **testssl.CHECKS,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/debug/ringway")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", action="append", metavar="NAME")
    arguments = parser.parse_args()
    if arguments.list:
        for name, check in CHECKS.items():
            print(f"{name}: {' '.join(check.__doc__.split())}")
        return 0
    only = arguments.only or [""]
    chosen = [name for name in CHECKS if any(part in name for part in only)]
    failed = []
    with tempfile.TemporaryDirectory() as directory:
        with setting.prepared(arguments.binary.resolve(), pathlib.Path(directory)) as prepared:
            for name in chosen:
                began = time.monotonic()
                try:
                    told, good = CHECKS[name](prepared), True
                except (demands.Failed, OSError, subprocess.SubprocessError) as error:
                    told, good = str(error), False
                    failed.append(name)
                label = "ok" if good else "FAILED"
                print(f"{label:6} {time.monotonic() - began:6.2f} s  {name}: {told}", flush=True)
    for name in failed:
        print(f"FAILED {name}")
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
