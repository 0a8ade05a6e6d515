#!/usr/bin/env bash
# Contract tests of the control API: schemathesis holds a running ringway against its own OpenAPI
# document.
#
#   scripts/test-api.sh URL [TOKEN_FILE]      URL as in http://127.0.0.1:9900
#
# The configuration behind URL is changed at random: give it one that nobody needs. Environment:
# EXAMPLES (per operation, default 40), SEED (default 1), PYTHON (default python3).
set -euo pipefail

url=${1:?usage: scripts/test-api.sh URL [TOKEN_FILE]}
token_file=${2:-}
root=$(cd "$(dirname "$0")/.." && pwd)
venv=$root/target/schemathesis
version=4

if [ ! -x "$venv/bin/schemathesis" ]; then
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version.*"
fi

arguments=(
    --config-file "$root/scripts/schemathesis.toml"
    run "$url/v1/openapi.json"
    --url "$url"
    --checks all
    # Names and addresses of a generated request are valid by the schema, and yet unknown here.
    --exclude-checks positive_data_acceptance,ignored_auth
    # These end the process, or a stream that never ends.
    --exclude-path /v1/drain
    --exclude-path /v1/upgrade
    --exclude-path /v1/events
    --max-examples "${EXAMPLES:-40}"
    --seed "${SEED:-1}"
    --request-timeout 10
    --max-failures 20
    --no-color
)
if [ -n "$token_file" ]; then
    arguments+=(--header "Authorization: Bearer $(head -n 1 "$token_file")")
fi
exec "$venv/bin/schemathesis" "${arguments[@]}"
