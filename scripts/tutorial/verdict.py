"""Adds up what oha and the strict client saw; the last line is the number of failed requests.

Usage: verdict.py OHA_JSON CLIENT_JSON. Ends with 1 unless that is zero, and something was seen.
"""

import json
import sys

# What oha calls the requests that were in flight when it was told to stop.
STOPPED = "aborted due to deadline"


def main():
    with open(sys.argv[1]) as file:
        oha = json.load(file)
    with open(sys.argv[2]) as file:
        client = json.load(file)
    statuses, errors = oha["statusCodeDistribution"], oha["errorDistribution"]
    errors = {text: count for text, count in errors.items() if text != STOPPED}
    good = statuses.get("200", 0)
    failed = sum(statuses.values()) - good + sum(errors.values()) + client["failed"]
    print(f"oha: {good} responses with status 200")
    for status, count in statuses.items():
        if status != "200":
            print(f"oha: {count} responses with status {status}")
    for text, count in errors.items():
        print(f"oha: {count} times {text}")
    for title, count in sorted(client["seen"].items()):
        print(f'strict client: {count} times "{title}", whole and right')
    for line in client["told"]:
        print(f"strict client: {line}")
    missing = {"My Home", "My Blog", "My Blog version 2"} - client["seen"].keys()
    print(f"{failed} failed requests")
    if missing or good == 0:
        print(f"the load saw too little: {good} responses to oha, no {sorted(missing)}")
    return 1 if failed or missing or good == 0 else 0


sys.exit(main())
