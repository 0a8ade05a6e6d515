#!/usr/bin/env bash
# Everything that has to pass before a change is merged. CI runs exactly this (.ci/run).
#
# Steps, the fast ones first; the first that fails ends it:
#   tools      installs by package name what is missing: a C compiler, curl, openssl, promtool,
#              python3 with venv, systemd (for systemd-analyze), wrk, oha, chromium (opens the
#              report of compare)
#   format     cargo fmt --check
#   lint       cargo clippy --all-targets, warnings are errors
#   unit       unit and property tests, and tests/tidy.rs
#   alerts     the alert rules of conf/prometheus and their tests
#   io_uring   end-to-end tests on io_uring (left out, with a line saying so, where it is off)
#   epoll      end-to-end tests that move bytes, once more on epoll
#   contract   the control API against its OpenAPI document, by schemathesis from PyPI (left out,
#              with a line saying so, where PyPI cannot be reached or no network namespace be made)
#   release    the optimised build
#   clients    the release build against HTTP/2 conformance cases and floods, and openssl, curl,
#              httpx, grpcio, Node's ws, Chromium and testssl.sh (left out, with a line saying so,
#              where PyPI, the npm registry or Debian's packages cannot be reached)
#   figures    instructions per request in the release build, against the recorded ones
#   load       wrk and oha against the release build, on both drivers
#   soak       targets, rules, keys, modes and the binary changed under load
#   memory     idle connections and large bodies against the release build
#   scale      a thousand target groups in the release build
#   service    the package of the release build on a real systemd, in a container; where that cannot
#              be had, it is SKIPPED with the reason
#   docs       cargo doc, warnings are errors
#   tutorial   docs/tutorial.md played with the release build, without a failed request (left out,
#              with a line saying so, where Flask cannot be had)
#
# An end-to-end test that fails is run once more, alone. If it passes then, the checks go on and the
# times at the end name it as FLAKY: a race to be found, not to be lived with.
# More than FLAKY_MAX at once are no accident, and fail.
#
# Needs cargo and, only where something is missing, apt-get as root or with sudo. Set
# RINGWAY_TEST_BODY_GIB, RINGWAY_TEST_SECONDS or RINGWAY_TEST_REQUESTS for more than the default.
set -euo pipefail
cd "$(dirname "$0")/.."

# Tests with sockets of their own, whatever the driver, and those that a driver can change.
common_tests=(cli compare conf doctor from_elb harness_alone packaging rolling service spans
    store)
driver_tests=(access_log framing grpc http http2 metrics rules stop targets tcp tls)
measuring_tests=(load memory scale)

FLAKY_MAX=3

current=none
summary=()

report() {
    local status=$?
    printf '\n%s\n' "----- times -----" "${summary[@]}"
    if [ "$status" -ne 0 ]; then
        printf 'check.sh: FAILED in step "%s" (exit status %s)\n' "$current" "$status"
    fi
}
trap report EXIT

step() {
    current=$1
    shift
    local began=$SECONDS
    printf '\n===== %s =====\n' "$current"
    "$@"
    summary+=("$(printf '%-10s %4s s' "$current" "$((SECONDS - began))")")
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        printf 'check.sh: needs root or sudo for: %s\n' "$*"
        return 1
    fi
}

tools() {
    local command packages=()
    local -A package=(
        [cc]=build-essential [chromium]=chromium [curl]=curl [openssl]=openssl
        [promtool]=prometheus [python3]=python3
        [systemd-analyze]=systemd [wrk]=wrk
    )
    for command in "${!package[@]}"; do
        command -v "$command" >/dev/null || packages+=("${package[$command]}")
    done
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
    if [ "${#packages[@]}" -gt 0 ]; then
        as_root apt-get update
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends "${packages[@]}"
    fi
    cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
    cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
    export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    command -v oha >/dev/null || cargo install oha --locked
    for command in "${!package[@]}" oha; do
        printf '%-8s %s\n' "$command" "$(command -v "$command")"
    done
}

# Fails when an end-to-end test exists that no step runs.
every_test_is_listed() {
    local path name
    local listed=(tidy "${common_tests[@]}" "${driver_tests[@]}" "${measuring_tests[@]}" soak)
    for path in tests/*.rs tests/*/main.rs; do
        name=$(basename "${path%/main.rs}" .rs)
        case " ${listed[*]} " in
        *" $name "*) ;;
        *)
            printf 'check.sh: tests/%s is run by no step; name it in scripts/check.sh\n' "$name"
            return 1
            ;;
        esac
    done
}

# The tests that failed in the output of cargo test, one a line: name of the file, name of the test.
failed_tests() {
    awk '/^ +Running /{ sub(/-[0-9a-f]+\)$/, ""); sub(/.*\//, ""); file = $0 }
        /^failures:$/{ listed = 1; next }
        /^test result: /{ listed = 0 }
        listed && /^    [A-Za-z0-9_:]+$/{ print file, $1 }' "$1" | sort -u
}

# cargo test with these arguments; what fails gets one more try.
tested() {
    local status=0 log file name failed again
    log=$(mktemp)
    cargo test --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?
    failed=$(failed_tests "$log")
    # A test process that died names no test; its file is failed all the same.
    again=$(grep -oE '^    `--test [a-z0-9_]+`$' "$log" | tr -d '`' | sort -u) || true
    rm -f "$log"
    [ "$status" -ne 0 ] || return 0
    if [ -z "$failed" ] || [ "$(wc -l <<<"$failed")" -gt "$FLAKY_MAX" ] ||
        [ "$(cut -d' ' -f1 <<<"$failed" | sort -u)" != "$(awk '{ print $2 }' <<<"$again")" ]; then
        return "$status"
    fi
    while read -r file name; do
        printf '\n----- once more: %s %s -----\n' "$file" "$name"
        log=$(mktemp)
        status=0
        cargo test --test "$file" -- --exact "$name" </dev/null 2>&1 | tee "$log" || status=$?
        grep -q '^test result: ok. 1 passed' "$log" || status=1
        rm -f "$log"
        [ "$status" -eq 0 ] || return "$status"
        summary+=("FLAKY      $file $name")
    done <<<"$failed"
}

tests() {
    local name names=()
    for name in "$@"; do
        names+=(--test "$name")
    done
    tested "${names[@]}"
}

unit() {
    every_test_is_listed
    cargo test --lib --bins --test tidy
}

alerts() {
    promtool check rules conf/prometheus/ringway.rules.yml
    promtool test rules conf/prometheus/ringway.rules.test.yml
}

io_uring_usable() {
    cargo run --quiet -- version | grep -q '^io_uring  usable'
}

io_uring() {
    if io_uring_usable; then
        RINGWAY_TEST_DRIVER=io_uring tests "${common_tests[@]}" "${driver_tests[@]}"
    else
        cargo run --quiet -- version
        printf 'io_uring is not usable here: its end-to-end tests are LEFT OUT\n'
        tests "${common_tests[@]}"
    fi
}

epoll() {
    RINGWAY_TEST_DRIVER=epoll tests "${driver_tests[@]}"
}

contract() {
    local status=0
    if ! unshare --net true 2>/dev/null &&
        ! unshare --user --map-root-user --net true 2>/dev/null; then
        printf 'no network namespace can be made here: the contract tests are LEFT OUT\n'
        return
    fi
    scripts/test-api.sh --install || status=$?
    if [ "$status" -eq 75 ]; then
        printf 'PyPI cannot be reached: the contract tests are LEFT OUT\n'
        return
    elif [ "$status" -ne 0 ]; then
        return "$status"
    fi
    cargo build
    timeout --signal=INT 900 python3 tests/api_contract.py \
        "${CARGO_TARGET_DIR:-$PWD/target}/debug/ringway"
}

release_build() {
    cargo build --release
    RINGWAY_RELEASE_BIN="${CARGO_TARGET_DIR:-$PWD/target}/release/ringway"
    export RINGWAY_RELEASE_BIN
}

clients() {
    local status=0
    scripts/test-clients.sh --install || status=$?
    if [ "$status" -eq 75 ]; then
        printf 'the clients cannot be had: their tests are LEFT OUT\n'
        summary+=('clients    LEFT OUT: see above')
        return
    elif [ "$status" -ne 0 ]; then
        return "$status"
    fi
    scripts/test-clients.sh "$RINGWAY_RELEASE_BIN"
}

load() {
    if io_uring_usable; then
        RINGWAY_TEST_DRIVER=io_uring tested --test load -- --nocapture
    fi
    RINGWAY_TEST_DRIVER=epoll tested --test load -- --nocapture
}

instructions() {
    local status=0
    scripts/instructions.sh || status=$?
    if [ "$status" -eq 75 ]; then
        summary+=('figures    LEFT OUT: see above')
        status=0
    fi
    return "$status"
}

soak() {
    tested --test soak -- --nocapture
}

memory() {
    tested --test memory -- --nocapture
}

service() {
    local status=0
    scripts/test-service.sh || status=$?
    if [ "$status" -eq 77 ]; then
        summary+=('service    SKIPPED: see above')
        status=0
    fi
    return "$status"
}

scale() {
    tested --test scale -- --nocapture
}

tutorial() {
    local status=0
    RINGWAY=$RINGWAY_RELEASE_BIN timeout --foreground --kill-after=60 600 \
        scripts/tutorial.sh || status=$?
    if [ "$status" -eq 75 ]; then
        summary+=('tutorial   LEFT OUT: see above')
        status=0
    fi
    return "$status"
}

step tools tools
step format cargo fmt --check
step lint cargo clippy --all-targets -- -D warnings
step unit unit
step alerts alerts
step io_uring io_uring
step epoll epoll
step contract contract
step release release_build
step figures instructions
step clients clients
step load load
step soak soak
step memory memory
step scale scale
step service service
step docs env RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps
step tutorial tutorial
printf '\nevery step passed in %s s\n' "$SECONDS"
