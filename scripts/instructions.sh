#!/usr/bin/env bash
# Instructions that ringway executes per request in user space, under valgrind's callgrind: the same
# on a busy machine as on a quiet one, so that a path that has grown is seen at once.
#
#   scripts/instructions.sh             measures and compares with benches/instructions.txt; fails
#                                       where a figure is more than 3 % above the recorded one,
#                                       ends with 75 where nothing could be measured
#   scripts/instructions.sh --record    measures and writes that file; commit it with the change
#
# Installs valgrind by package name. Uses RINGWAY_RELEASE_BIN if set, else builds the release.
# Loopback only; takes about a minute.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null; then
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends valgrind
fi
if [ -z "${RINGWAY_RELEASE_BIN:-}" ]; then
    cargo build --release
    RINGWAY_RELEASE_BIN=${CARGO_TARGET_DIR:-target}/release/ringway
fi
exec python3 scripts/instructions.py "$RINGWAY_RELEASE_BIN" benches/instructions.txt "$@"
