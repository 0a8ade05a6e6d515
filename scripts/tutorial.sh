#!/usr/bin/env bash
# "ALB and ECS with two Flask apps", from end to end on this machine, with a ringway of its own.
#
#   scripts/tutorial.sh                 builds the release and plays the tutorial
#   RINGWAY=FILE scripts/tutorial.sh    with this program
#
# Each step prints what it does and the ringway command behind it; docs/tutorial.md tells the same
# story. The last line says how many requests failed, as counted by oha and by a strict client; the
# exit status is 0 only if none did. Needs no root, unless a tool has to be installed by package
# name (python3 with venv, curl); Flask goes into target/tutorial. Loopback only, on ports that the
# kernel chooses; ends what it started, also when it fails or is interrupted.
#
# Ends with status 75 where Flask can be had neither from PyPI nor as a Debian package.
set -euo pipefail
cd "$(dirname "$0")/.."

apps=$PWD/scripts/tutorial
wanted=$apps/requirements.txt
venv=$PWD/target/tutorial/venv
flask_unreachable=75
# Nothing is left in the directory of the apps.
export PYTHONDONTWRITEBYTECODE=1

# Longest waits, in seconds. Each is far beyond what a busy machine with two cores needs.
start_max=60
stop_max=30
# For health and draining, which ringway itself waits for.
wait_max=60s
# Pause between two looks at something that is waited for.
look_every=0.1

# The load ends with the story, at the latest after this.
load_max=600s
load_rate=100
load_connections=8

# ------------------------------------------------------------------------------- what it needs

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        printf 'tutorial.sh: needs root or sudo for: %s\n' "$*"
        return 1
    fi
}

apt_install() {
    as_root apt-get update &&
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends "$@"
}

tools() {
    local packages=()
    export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    command -v curl >/dev/null || packages+=(curl)
    command -v python3 >/dev/null || packages+=(python3)
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
    [ "${#packages[@]}" -eq 0 ] || apt_install "${packages[@]}"
    command -v oha >/dev/null || cargo install oha --locked
}

flask() {
    local log=$venv/install.log
    if [ -x "$venv/bin/python" ] && cmp --quiet "$wanted" "$venv/installed.txt"; then
        return
    fi
    printf 'installing Flask into %s\n' "${venv#"$PWD/"}"
    rm -rf "$venv"
    python3 -m venv "$venv"
    if "$venv/bin/pip" install --disable-pip-version-check --retries 2 --timeout 20 \
        --requirement "$wanted" >"$log" 2>&1; then
        cp "$wanted" "$venv/installed.txt"
        return
    fi
    tail -n 3 "$log"
    printf 'PyPI cannot be had: trying the package python3-flask\n'
    /usr/bin/python3 -c 'import flask' 2>/dev/null || apt_install python3-flask || true
    if ! /usr/bin/python3 -c 'import flask' 2>/dev/null; then
        printf 'tutorial.sh: no Flask, neither from PyPI nor as python3-flask\n'
        exit "$flask_unreachable"
    fi
    rm -rf "$venv"
    /usr/bin/python3 -m venv --system-site-packages --without-pip "$venv"
    cp "$wanted" "$venv/installed.txt"
}

# ---------------------------------------------------------------------- processes, and their end

# By name: the process and, of tasks, the address.
declare -A pid address

# Whether it is there and our child: a number that is free again may be anybody's.
running() {
    [ -n "${pid[$1]:-}" ] && grep -qs "^PPid:[[:space:]]*$$\$" "/proc/${pid[$1]}/status"
}

ended() {
    ! running "$1"
}

# wait_for SECONDS WHAT COMMAND...: until COMMAND succeeds, or the time is over.
wait_for() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            printf 'tutorial.sh: waited in vain: %s\n' "$what"
            return 1
        fi
        sleep "$look_every"
    done
}

# stop SIGNAL NAME: ends the process, and by SIGKILL if it takes too long.
stop() {
    local process=${pid[$2]:-}
    if running "$2"; then
        kill -"$1" "$process" 2>/dev/null || true
        if ! wait_for "$stop_max" "$2 should end" ended "$2"; then
            kill -KILL "$process" 2>/dev/null || true
            return 1
        fi
    fi
}

tidy_up() {
    local status=$? name
    trap - EXIT
    trap '' INT TERM
    case $status in
    0) ;;
    130 | 143) printf '\ninterrupted: tidying up\n' ;;
    *) find "$dir" -name '*.log' -size +0 -exec tail -v -n 20 {} + || true ;;
    esac
    # All are told before one is waited for.
    for name in "${!pid[@]}"; do
        running "$name" && kill -TERM "${pid[$name]}" 2>/dev/null || true
    done
    for name in "${!pid[@]}"; do
        stop TERM "$name" || true
    done
    rm -rf "$dir"
    if [ "$status" -ne 0 ]; then
        printf 'tutorial.sh: FAILED (exit status %s)\n' "$status"
    fi
    exit "$status"
}

# ------------------------------------------------------------------------------------- the words

say() {
    printf '\n== %s [%s s]\n' "$1" "$SECONDS"
}

# Shows a command as one would type it, then carries it out.
show() {
    local word line=
    for word in "$@"; do
        case $word in
        *[!A-Za-z0-9_./:=@%+-]*) line+=" '$word'" ;;
        *) line+=" $word" ;;
        esac
    done
    printf '$%s\n' "$line"
    "$@"
}

ringway() {
    "$binary" "$@"
}

# start NAME COMMAND...: in the background.
start() {
    local name=$1
    shift
    "$@" >"$dir/$name.out" 2>"$dir/$name.log" &
    pid[$name]=$!
}

has_port() {
    [ -s "$dir/$1.port" ] || ended "$1"
}

# run_task APP VERSION NAME...: starts these tasks, and waits until all of them take connections.
run_task() {
    local app=$1 version=$2 name
    shift 2
    for name in "$@"; do
        start "$name" "$venv/bin/python" "$apps/$app.py" "$name" "$dir/$name.port" "$version"
    done
    for name in "$@"; do
        wait_for "$start_max" "$name should listen" has_port "$name"
        address[$name]=127.0.0.1:$(cat "$dir/$name.port")
        printf 'task %s runs at %s\n' "$name" "${address[$name]}"
    done
}

# ------------------------------------------------------------------------------------- the story

listens() {
    grep -q '^ready ' "$dir/ringway.out" || ended ringway
}

start_ringway() {
    cat >"$dir/ringway.toml" <<END
[server]
state_dir = "$dir/state"
control = { socket = "$dir/control.sock" }

[[listeners]]
name = "web"
address = "127.0.0.1:0"
default = { fixed_response = { status = 503, body = "nothing here yet" } }
END
    mkdir "$dir/state"
    export RINGWAY_SOCKET=$dir/control.sock
    sed "s|$dir|DIR|" "$dir/ringway.toml"
    printf '$ ringway run --config DIR/ringway.toml &\n'
    start ringway "$binary" run --config "$dir/ringway.toml"
    wait_for "$start_max" 'ringway should be ready' listens
    cat "$dir/ringway.out"
    web=$(sed -n 's/^listening web l7 //p' "$dir/ringway.out")
    if [ -z "$web" ]; then
        printf 'tutorial.sh: %s does not listen\n' "$binary"
        return 1
    fi
}

ask() {
    local times=$1 path=$2
    for _ in $(seq "$times"); do
        show curl -fsS -m 30 "http://$web$path"
    done
}

start_load() {
    printf '$ oha -z %s -q %s -c %s http://%s/blog &\n' \
        "$load_max" "$load_rate" "$load_connections" "$web"
    start oha oha --no-tui --output-format json \
        -z "$load_max" -q "$load_rate" -c "$load_connections" "http://$web/blog"
    start client "$venv/bin/python" "$apps/client.py" "$web" "$dir/client.json"
    printf 'a strict client asks for / and /blog, too\n'
}

load_goes_on() {
    local name
    for name in oha client; do
        if ended "$name"; then
            printf 'tutorial.sh: %s ended before the story did\n' "$name"
            return 1
        fi
    done
}

# replace OLD NEW: a rolling update of one task, in the order of ECS.
replace() {
    local old=$1 new=$2
    run_task blog 2 "$new"
    show ringway targets register blog "${address[$new]}" --wait="$wait_max"
    show ringway targets deregister blog "${address[$old]}" --wait="$wait_max"
    stop TERM "$old"
    printf 'task %s is stopped\n' "$old"
}

is_unhealthy() {
    ringway targets list blog | grep -q "^ *$1 *unhealthy "
}

story() {
    say 'Two home tasks and two blog tasks'
    run_task home 1 home-1 home-2
    run_task blog 1 blog-1 blog-2

    say 'A load balancer, with one listener'
    start_ringway

    local often='interval = "1s", timeout = "900ms", healthy_threshold = 2'
    say 'The home app: a target group, its tasks, the default of the listener'
    show ringway groups put home "health_check = { path = \"/\", $often }"
    show ringway targets register home "${address[home-1]}" "${address[home-2]}"
    show ringway listeners put web 'address = "127.0.0.1:0", default = { forward = "home" }'

    say 'The blog app: a target group, its tasks, a rule for /blog'
    show ringway groups put blog "health_check = { path = \"/blog\", $often }"
    show ringway targets register blog "${address[blog-1]}" "${address[blog-2]}"
    show ringway rules put web 10 'path_pattern = ["/blog", "/blog/*"], forward = "blog"'
    show ringway listeners list

    say 'All of them are healthy (registering again changes nothing, but waits)'
    show ringway targets register home "${address[home-1]}" "${address[home-2]}" --wait="$wait_max"
    show ringway targets register blog "${address[blog-1]}" "${address[blog-2]}" --wait="$wait_max"

    say 'The answers'
    ask 2 /
    ask 2 /blog

    say 'Load, from here to the end'
    start_load

    say 'Scale the blog to four tasks'
    run_task blog 1 blog-3 blog-4
    show ringway targets register blog "${address[blog-3]}" "${address[blog-4]}" --wait="$wait_max"
    show ringway targets list blog

    say 'Roll it to version 2, task by task: register, wait, deregister, wait, stop'
    local number
    for number in 1 2 3 4; do
        replace "blog-$number" "blog-$((number + 4))"
    done
    ask 4 /blog

    say 'One task is killed: its health check fails, requests go to the others'
    show kill -KILL "${pid[blog-5]}"
    # Takes note of its end here, or bash would speak of it.
    wait "${pid[blog-5]}" 2>/dev/null || true
    wait_for "$stop_max" 'the killed task should be unhealthy' is_unhealthy "${address[blog-5]}"
    show ringway targets list blog
    ask 3 /blog

    say 'What ECS would do: another task in its place'
    run_task blog 2 blog-9
    show ringway targets register blog "${address[blog-9]}" --wait="$wait_max"
    show ringway targets deregister blog "${address[blog-5]}" --wait="$wait_max"

    say 'The load ends'
    load_goes_on
    stop INT oha
    stop TERM client
    show ringway status

    say 'Clean up: the rule, the targets, the group, the load balancer, the tasks'
    show ringway rules delete web 10
    show ringway targets deregister blog "${address[blog-6]}" "${address[blog-7]}" \
        "${address[blog-8]}" "${address[blog-9]}" --wait="$wait_max"
    show ringway groups delete blog
    show ringway drain
    wait_for "$stop_max" 'ringway should end' ended ringway
    wait "${pid[ringway]}"
    local name
    for name in "${!pid[@]}"; do
        stop TERM "$name"
    done
    printf 'all %s processes have ended\n' "${#pid[@]}"

    say 'What the load saw'
    "$venv/bin/python" "$apps/verdict.py" "$dir/oha.out" "$dir/client.json"
}

dir=$(mktemp -d)
trap tidy_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
tools
flask
binary=${RINGWAY:-}
if [ -z "$binary" ]; then
    cargo build --release
    binary=${CARGO_TARGET_DIR:-$PWD/target}/release/ringway
fi
SECONDS=0
story
