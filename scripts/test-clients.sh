#!/usr/bin/env bash
# HTTP/2 conformance, and clients that people use, against a ringway that this starts.
#
#   scripts/test-clients.sh --install     makes what it needs, in target/clients and by apt-get
#   scripts/test-clients.sh [FILE]        runs all with this program, or the debug build
#
# 1. tests/http2_conformance.py: 250 cases of RFC 9113, 7541 and 8441, most of them over TLS and
#    h2c: each frame type, stream states, flow control, HPACK, fields; floods and slow clients, with
#    memory and processor time of ringway bounded while another client is served.
# 2. tests/real_clients.py: openssl s_client, curl, Python's httpx and grpcio (client and target,
#    all kinds of calls, health checks), Node's ws and http2, a page in headless Chromium (100
#    images and a WebSocket), testssl.sh.
#
# Both list their cases with --list and run some with --only NAME (which is passed on by ONLY=NAME).
# Loopback only, on ports that the kernel chooses. Environment: PYTHON (default python3),
# RINGWAY_TEST_DRIVER (io_uring or epoll; default: what ringway chooses).
#
# Ends with status 75 where PyPI, the npm registry or Debian's packages cannot be reached.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$PWD/target/clients
wanted=$PWD/tests/clients/requirements.txt
node=$PWD/tests/clients/node
unreachable=75
export PYTHONDONTWRITEBYTECODE=1

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        printf 'test-clients.sh: needs root or sudo for: %s\n' "$*"
        return 1
    fi
}

packages() {
    local command missing=()
    local -A package=(
        [chromium]=chromium [curl]=curl [node]=nodejs [npm]=npm [openssl]=openssl
        [python3]=python3 [testssl]=testssl.sh
    )
    for command in "${!package[@]}"; do
        command -v "$command" >/dev/null || missing+=("${package[$command]}")
    done
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    [ "${#missing[@]}" -gt 0 ] || return 0
    if ! as_root apt-get update ||
        ! as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends "${missing[@]}"; then
        printf 'test-clients.sh: cannot be had from Debian: %s\n' "${missing[*]}"
        return "$unreachable"
    fi
}

# installed LOG COMMAND...: the command; 75 where it fails because there is no network.
installed() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 && return
    cat "$log"
    local signs='new connection|name resolution|timed out|unreachable|proxy|connection refused'
    signs+='|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT'
    ! grep -qiE "$signs" "$log" || return "$unreachable"
    return 1
}

is_installed() {
    [ -x "$venv/bin/python" ] && cmp --quiet "$wanted" "$venv/installed.txt" &&
        cmp --quiet "$node/package-lock.json" "$venv/package-lock.json" &&
        [ -d "$venv/node_modules/ws" ]
}

install() {
    packages
    if is_installed; then
        return
    fi
    printf 'installing the clients into %s\n' "${venv#"$PWD/"}"
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    installed "$venv/pip.log" "$venv/bin/pip" install --disable-pip-version-check --retries 2 \
        --timeout 20 --requirement "$wanted"
    cp "$node/package.json" "$node/package-lock.json" "$venv"
    installed "$venv/npm.log" npm ci --prefix "$venv" --ignore-scripts --no-audit --no-fund \
        --fetch-retries 2 --fetch-timeout 20000
    cp "$wanted" "$venv/installed.txt"
}

install
if [ "${1:-}" = --install ]; then
    exit
fi
binary=${1:-${CARGO_TARGET_DIR:-$PWD/target}/debug/ringway}
only=(${ONLY:+--only "$ONLY"})
status=0
timeout --kill-after=10 600 "$venv/bin/python" tests/http2_conformance.py \
    --binary "$binary" "${only[@]}" || status=$?
timeout --kill-after=10 600 "$venv/bin/python" tests/real_clients.py \
    --binary "$binary" "${only[@]}" || status=$?
exit "$status"
