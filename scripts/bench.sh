#!/usr/bin/env bash
# The benchmark behind every published figure: ringway, haproxy and nginx, interleaved.
#
#   bash scripts/bench.sh                      all cases (about 29 minutes)
#   bash scripts/bench.sh --quick              the most telling ones, in under two minutes
#   bash scripts/bench.sh --case l7-small-64   one case; may be repeated
#   bash scripts/bench.sh --help               every option
#
# Installs by package name what is missing (haproxy, nginx, nghttp2's tools, openssl, wrk, oha,
# python3), builds the release, and runs scripts/bench.py. docs/performance.md says how to read what
# it prints. Loopback only; ends what it started. Distributions start haproxy and nginx as services
# when installed: these are left alone, and the benchmark runs processes of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        printf 'bench.sh: needs root or sudo for: %s\n' "$*"
        return 1
    fi
}

tools() {
    local command packages=()
    local -A package=([cc]=build-essential [python3]=python3 [taskset]=util-linux [wrk]=wrk
        [haproxy]=haproxy [nginx]=nginx-light [openssl]=openssl [h2load]=nghttp2-client
        [nghttpd]=nghttp2-server)
    export PATH="$PATH:/usr/sbin:${CARGO_HOME:-$HOME/.cargo}/bin"
    for command in "${!package[@]}"; do
        command -v "$command" >/dev/null || packages+=("${package[$command]}")
    done
    # nginx's L4 is a module of its own.
    [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || packages+=(libnginx-mod-stream)
    if [ "${#packages[@]}" -gt 0 ]; then
        as_root apt-get update
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends "${packages[@]}"
    fi
    command -v oha >/dev/null || cargo install oha --locked
}

case " $* " in
*" --help "* | *" -h "* | *" --list "*) exec python3 scripts/bench.py "$@" ;;
esac
tools
messages=$(mktemp)
trap 'rm -f "$messages"' EXIT
printf 'building\n'
cargo build --release --bin ringway --bench target --bench load --bench relay \
    --message-format json-render-diagnostics >"$messages"
python3 scripts/bench.py --built "$messages" "$@"
