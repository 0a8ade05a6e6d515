#!/usr/bin/env bash
# Contract tests of the control API: schemathesis holds a running ringway against its own OpenAPI
# document.
#
#   scripts/test-api.sh --install             makes what it needs, in target/schemathesis
#   scripts/test-api.sh URL [TOKEN_FILE]      URL as in http://127.0.0.1:9900
#
# The configuration behind URL is changed at random: give it one that nobody needs, and know that
# targets with any address may be registered and probed. tests/api_contract.py gives it both, where
# there is no network. Environment: EXAMPLES (per operation, default 25), SEED (default 1), PYTHON
# (default python3).
#
# --install ends with status 75 where the package index cannot be reached.
set -euo pipefail

usage="usage: scripts/test-api.sh --install | URL [TOKEN_FILE]"
url=${1:?$usage}
token_file=${2:-}
root=$(cd "$(dirname "$0")/.." && pwd)
venv=$root/target/schemathesis
wanted=$root/scripts/schemathesis.txt
index_unreachable=75

is_installed() {
    [ -x "$venv/bin/schemathesis" ] && cmp --quiet "$wanted" "$venv/installed.txt"
}

install() {
    local log=$venv/install.log
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    if "$venv/bin/pip" install --disable-pip-version-check --retries 2 --timeout 20 \
        --requirement "$wanted" >"$log" 2>&1; then
        cp "$wanted" "$venv/installed.txt"
        return
    fi
    cat "$log"
    local signs='new connection|name resolution|timed out|unreachable|proxy|connection refused'
    if grep -qiE "$signs" "$log"; then
        return "$index_unreachable"
    fi
    return 1
}

if ! is_installed; then
    install
fi
if [ "$url" = --install ]; then
    exit
fi

arguments=(
    --config-file "$root/scripts/schemathesis.toml"
    run "$url/v1/openapi.json"
    --url "$url"
    --checks all
    # A generated request is good by the schema, and yet its names and addresses may not be here.
    --exclude-checks positive_data_acceptance
    # These end the process, or a stream that never ends.
    --exclude-path /v1/drain
    --exclude-path /v1/upgrade
    --exclude-path /v1/events
    --max-examples "${EXAMPLES:-25}"
    --seed "${SEED:-1}"
    --request-timeout 60
    --max-failures 20
    # Nothing that an earlier run found out: the same seed does the same.
    --generation-database none
    --no-color
)
if [ -n "$token_file" ]; then
    arguments+=(--header "Authorization: Bearer $(head -n 1 "$token_file")")
fi
# It keeps notes in the directory in which it runs.
cd "$venv"
exec bin/schemathesis "${arguments[@]}"
