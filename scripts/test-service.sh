#!/usr/bin/env bash
# Ringway as a service on a real Debian 12: boots systemd in a container (systemd-nspawn), installs
# the package, and lives through what an operator does and what may happen to a service.
#
#   scripts/test-service.sh                  with a package of the release build
#   scripts/test-service.sh --binary FILE    with a package of this program
#   scripts/test-service.sh --keep           leaves the container's tree and log behind
#
# Needs root, and installs by package name what is missing: systemd-container, debootstrap, dpkg-dev
# and python3. The tree comes from a Debian mirror (RINGWAY_TEST_MIRROR, default deb.debian.org), is
# kept in target/service and used again. Where a container cannot be had, it says SKIPPED with the
# reason and ends with status 77. Every wait has an end; the whole takes one to three minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

mirror=${RINGWAY_TEST_MIRROR:-http://deb.debian.org/debian}
# What the operator and the targets of the test need beyond systemd.
packages=systemd,systemd-sysv,dbus,curl,wrk,nginx-light,procps,iproute2,acl
base=$PWD/target/service
# The list of packages is part of the name: another list, another tree.
tree=$base/debian-12-$(printf '%s' "$mirror $packages" | cksum | cut -d' ' -f1)

# Longest wait for the container to have booted, and for anything in it, in seconds.
boot_max=60
wait_max=60
# How long wrk sends requests around an upgrade, in seconds.
load_seconds=10
# systemd-analyze security: what the unit may be exposed to at most.
exposure_max=1.6

binary=${RINGWAY_RELEASE_BIN:-}
keep=no
while [ "$#" -gt 0 ]; do
    case "$1" in
    --binary)
        binary=${2:?--binary needs a file}
        shift
        ;;
    --keep) keep=yes ;;
    --help | -h)
        sed -n '2,/^set -euo/{/^set -euo/d;s/^# \{0,1\}//;p}' "$0"
        exit 0
        ;;
    *)
        printf 'test-service.sh: there is no option %s\n' "$1" >&2
        exit 2
        ;;
    esac
    shift
done

skip() {
    printf 'SKIPPED: %s\n' "$1"
    exit 77
}

run_dir=
nspawn=
leader=
tracer=
current='the preparation'

cleanup() {
    local status=$?
    [ -z "$tracer" ] || kill "$tracer" 2>/dev/null || true
    if [ -n "$nspawn" ] && kill -0 "$nspawn" 2>/dev/null; then
        if [ "$status" -ne 0 ] && [ "$status" -ne 77 ] && [ -n "$leader" ]; then
            printf '\n----- journal of ringway -----\n'
            inside journalctl --no-pager -b -u ringway.service -u ringway.socket -n 120 || true
            inside systemctl --no-pager status ringway.service || true
        fi
        # The container's init is asked to power off, then its keeper is killed, and all in it.
        kill -TERM "$nspawn" 2>/dev/null || true
        for _ in $(seq 50); do
            kill -0 "$nspawn" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$nspawn" 2>/dev/null || true
        wait "$nspawn" 2>/dev/null || true
    fi
    if [ -n "$run_dir" ] && [ "$keep" = no ]; then
        rm -rf "$run_dir"
    elif [ -n "$run_dir" ]; then
        printf 'kept: %s\n' "$run_dir"
    fi
    if [ "$status" -ne 0 ] && [ "$status" -ne 77 ]; then
        printf 'test-service.sh: FAILED at: %s\n' "$current"
    fi
}
trap cleanup EXIT

began=$SECONDS
phase() {
    current=$1
    printf '[%3s s] %s\n' "$((SECONDS - began))" "$1"
}

fail() {
    printf 'test-service.sh: %s\n' "$1" >&2
    exit 1
}

# --- what the machine has to offer ---------------------------------------------------------------

[ "$(uname -s)" = Linux ] || skip 'it needs Linux'
[ "$(id -u)" -eq 0 ] || skip 'it needs root, for systemd-nspawn and debootstrap'

install_tools() {
    local command missing=()
    local -A package=(
        [systemd-nspawn]=systemd-container [debootstrap]=debootstrap [dpkg-deb]=dpkg
        [python3]=python3 [nsenter]=util-linux
    )
    for command in "${!package[@]}"; do
        command -v "$command" >/dev/null || missing+=("${package[$command]}")
    done
    if [ "${#missing[@]}" -gt 0 ]; then
        command -v apt-get >/dev/null || skip "no apt-get to install ${missing[*]} with"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    fi
}

# A Debian 12 with what the test needs; a tree that was not finished is made anew.
bootstrap() {
    [ ! -e "$tree.complete" ] || return 0
    phase 'debootstrap of a Debian 12'
    rm -rf "$tree"
    mkdir -p "$base"
    if ! debootstrap --variant=minbase --include="$packages" bookworm "$tree" "$mirror" \
        >"$base/debootstrap.log" 2>&1; then
        tail -5 "$base/debootstrap.log"
        fail "debootstrap from $mirror failed; all of its log is in $base/debootstrap.log"
    fi
    rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/*
    touch "$tree.complete"
}

# Two packages of the same program: to install, and to upgrade to.
package() {
    phase 'the package'
    local made
    made=$(scripts/package.sh ${binary:+--binary "$binary"} --version 0.0.1-1 --fast | tail -1)
    install -D -m 644 "$made" "$run_dir/debs/1.deb"
    install -m 755 "${binary:-${CARGO_TARGET_DIR:-$PWD/target}/release/ringway}" \
        "$run_dir/debs/ringway"
    rm -f "$made"
    dpkg-deb --raw-extract "$run_dir/debs/1.deb" "$run_dir/unpacked"
    sed -i 's/^Version: .*/Version: 0.0.1-2/' "$run_dir/unpacked/DEBIAN/control"
    dpkg-deb --root-owner-group -Zgzip -z1 --build "$run_dir/unpacked" "$run_dir/debs/2.deb" \
        >/dev/null
    rm -rf "$run_dir/unpacked"
}

# --- the container -------------------------------------------------------------------------------

# Runs a command in the container.
inside() {
    nsenter --target "$leader" --mount --uts --ipc --net --pid --cgroup -- \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        SYSTEMD_PAGER= DEBIAN_FRONTEND=noninteractive "$@"
}

# Waits until a command succeeds; $1 is what for.
wait_until() {
    local what=$1 until=$((SECONDS + wait_max))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || fail "waited $wait_max s for $what"
        sleep 0.1
    done
}

has_booted() {
    case "$(inside systemctl is-system-running 2>/dev/null)" in
    running | degraded) return 0 ;;
    *) return 1 ;;
    esac
}

boot() {
    phase 'boot of systemd in a container'
    cp -a "$tree" "$run_dir/tree"
    rm -f "$run_dir/tree/etc/nginx/sites-enabled/default"
    install -m 644 /dev/stdin "$run_dir/tree/etc/nginx/conf.d/targets.conf" <<'NGINX'
server { listen 127.0.0.1:5001; location / { return 200 "one\n"; } }
server { listen 127.0.0.1:5002; location / { return 200 "two\n"; } }
NGINX
    systemd-nspawn --quiet --boot --private-network --register=no --keep-unit \
        --machine="ringway-test-$$" --directory="$run_dir/tree" --bind-ro="$run_dir/debs:/debs" \
        --bind-ro="$PWD:/ringway" --console=pipe </dev/null >"$run_dir/console.log" 2>&1 &
    nspawn=$!
    local until=$((SECONDS + boot_max))
    while :; do
        if ! kill -0 "$nspawn" 2>/dev/null; then
            wait "$nspawn" || true
            nspawn=
            skip "systemd-nspawn cannot run here: $(tail -1 "$run_dir/console.log")"
        fi
        leader=$(pgrep -P "$nspawn" | head -1 || true)
        if [ -n "$leader" ] && has_booted; then
            return
        fi
        if [ "$SECONDS" -ge "$until" ]; then
            [ -z "$leader" ] || inside systemctl --no-pager list-jobs || true
            skip "systemd does not boot in a container here within $boot_max s"
        fi
        sleep 0.2
    done
}

# --- what is looked at ---------------------------------------------------------------------------

property() {
    inside systemctl show --value --property "$1" ringway.service
}

main_pid() {
    property MainPID
}

# Whether the service is up with another main process than $1.
is_new() {
    [ "$(property ActiveState)" = active ] && [ "$(main_pid)" != "$1" ] && [ "$(main_pid)" != 0 ]
}

# The journal of the service since the boot.
journal() {
    inside journalctl --no-pager -b -o short-precise -u ringway.service "$@"
}

# Not through a pipe: grep ends at the first match, and what writes to it then fails.
in_journal() {
    grep -qE -- "$1" <<<"$(journal)"
}

expect_journal() {
    wait_until "a line of the journal like: $1" in_journal "$1"
}

# Whether the listener on port 80 answers with a text like $1.
answers() {
    grep -qE -- "$1" <<<"$(inside curl --silent --show-error --max-time 5 http://127.0.0.1/)"
}

expect_answer() {
    wait_until "an answer like: $1" answers "$1"
}

status_of() {
    inside awk -v "key=$2:" '$1 == key { print $2 }' "/proc/$1/status"
}

write_config() {
    inside install -m 644 /dev/stdin /etc/ringway/ringway.toml
}

config() {
    cat <<TOML
[server]
state_dir = "/var/lib/ringway"
control = { socket = "/run/ringway/control.sock" }
drain_timeout = "5s"

[[target_groups]]
name = "home"
targets = ["127.0.0.1:5001", "127.0.0.1:5002"]
[target_groups.health_check]
interval = "1s"
timeout = "500ms"
healthy_threshold = 2

[[listeners]]
name = "web"
address = "0.0.0.0:80"
default = { forward = "home" }
$1
TOML
}

# Sends requests with wrk for $2 seconds; what it says goes to the file $1, its number to $!.
start_load() {
    inside wrk -t1 -c32 -d"$2s" --timeout 40s http://127.0.0.1:80/ >"$1" 2>&1 &
}

# Fails unless wrk has had an answer to each request, and 200 every time.
expect_no_failure() {
    cat "$1"
    grep -q 'requests in' "$1" || fail 'wrk has not ended as it should'
    ! grep -qE 'Socket errors|Non-2xx' "$1" || fail 'requests have failed'
}

# --- the test ------------------------------------------------------------------------------------

install_package() {
    phase 'installation'
    inside dpkg -i /debs/1.deb >"$run_dir/dpkg-1.log" 2>&1 || {
        cat "$run_dir/dpkg-1.log"
        fail 'the package cannot be installed'
    }
    [ "$(property ActiveState)" = active ] || fail 'it does not run after the installation'
    [ "$(inside systemctl is-enabled ringway.service)" = enabled ] || fail 'it is not enabled'
    [ "$(inside systemctl is-enabled ringway.socket)" = disabled ] || fail 'so is its socket'
    expect_answer 'ringway is installed'
    inside test -s /usr/share/man/man1/ringway.1.gz || fail 'no man page'
    inside bash -c '. /usr/share/bash-completion/completions/ringway
        complete -p ringway >/dev/null' || fail 'no completions'
}

look_at_process() {
    phase 'what it may do, and what it runs on'
    local pid exposure
    pid=$(main_pid)
    [ "$(inside ps -o user= -p "$pid")" = ringway ] || fail 'it does not run as its own user'
    # CAP_NET_BIND_SERVICE is number 10.
    for set in CapPrm CapEff CapBnd CapAmb; do
        [ "$(status_of "$pid" "$set")" = 0000000000000400 ] || fail "$set has other privileges"
    done
    [ "$(status_of "$pid" NoNewPrivs)" = 1 ] || fail 'it may gain privileges'
    [ "$(status_of "$pid" Seccomp)" = 2 ] || fail 'its system calls are not filtered'
    if grep -q '^io_uring  usable' <<<"$(inside ringway version)"; then
        grep -q 'anon_inode:\[io_uring\]' <<<"$(inside ls -l "/proc/$pid/fd")" ||
            fail 'it has no ring'
        expect_journal 'driver=io_uring'
        status_says 'workers on io_uring' || fail 'its status has no driver'
    else
        printf '         io_uring is off on this machine: it runs on %s\n' "$(property StatusText)"
    fi
    ! in_journal 'cannot pin|reception only permitted' || fail "$(journal -p warning)"
    exposure=$(inside systemd-analyze security --no-pager ringway.service |
        sed -n 's/.*Overall exposure level for ringway.service: \([0-9.]*\).*/\1/p')
    printf '         systemd-analyze security: %s\n' "$exposure"
    awk -v is="$exposure" -v max="$exposure_max" 'BEGIN { exit !(is != "" && is <= max) }' ||
        fail "more than $exposure_max"
    printf '         open files: %s\n' "$(inside awk '/Max open files/ { print $4 }' \
        "/proc/$pid/limits")"
    [ "$(inside stat -c '%U:%G %a' /run/ringway/control.sock)" = 'ringway:ringway 660' ] ||
        fail 'the control socket is open to others'
    grep -q '^group:adm:r-x' <<<"$(inside getfacl --omit-header -p /var/log/ringway)" ||
        fail 'the group adm cannot read the logs'
}

# What Prometheus and an operator who is called at night would ask.
look_from_outside() {
    phase 'metrics, readiness, doctor'
    local driver doctor status=0
    metric 'ringway_build_info{.*driver="[a-z_]*"' >/dev/null || fail 'no metrics'
    driver=$(metric 'ringway_build_info' | sed -n 's/.*driver="\([a-z_]*\)".*/\1/p')
    status_says "workers on $driver" || fail "metrics say $driver"
    for name in ringway_listener_requests_total ringway_group_targets process_open_fds; do
        metric "^$name" >/dev/null || fail "no $name"
    done
    [ "$(control healthz)" = ok ] || fail 'it is not alive'
    [ "$(control readyz)" = ready ] || fail "it is not ready: $(control readyz)"
    # As root, who sees the limits and the seccomp filter of the process that runs. Warnings about
    # this machine end it with status 3; errors would end it with 1.
    doctor=$(inside ringway doctor) || status=$?
    printf '%s\n' "$doctor" | tail -1 | sed 's/^/         doctor: /'
    case "$status" in 0 | 3) ;; *) fail "the doctor has found errors: $doctor" ;; esac
    grep -q "judged for the ringway that runs (pid $(main_pid)," <<<"$doctor" ||
        fail "the doctor has not found the service: $doctor"
}

# What the control API answers at a path.
control() {
    inside curl --silent --show-error --max-time 5 --unix-socket /run/ringway/control.sock \
        "http://localhost/$1"
}

# Lines of the metrics like $1.
metric() {
    grep -E -- "$1" <<<"$(control metrics)"
}

# Whether the sum of a family is more than zero.
is_counted() {
    metric "^$1[{ ]" | awk '{ sum += $NF } END { exit !(sum > 0) }'
}

reload() {
    phase 'reload'
    local pid
    pid=$(main_pid)
    config '' | write_config
    inside systemctl reload ringway.service || fail 'a good configuration is refused'
    expect_answer '^(one|two)$'
    config 'algoritm = "x"' | write_config
    ! inside systemctl reload ringway.service 2>/dev/null || fail 'a bad configuration is taken'
    wait_until 'the mistake in the journal, as an error' in_journal_at err 'unknown key `algoritm`'
    expect_answer '^(one|two)$'
    config '' | write_config
    inside systemctl reload ringway.service
    [ "$(main_pid)" = "$pid" ] || fail 'a reload has changed the process'
    wait_until 'two healthy targets' status_says '2 of 2 targets healthy'
}

in_journal_at() {
    grep -qF -- "$2" <<<"$(journal -p "$1")"
}

status_says() {
    grep -q -- "$1" <<<"$(property StatusText)"
}

upgrade() {
    phase "traffic, and an upgrade of the package under it ($load_seconds s of wrk)"
    local before load
    before=$(main_pid)
    start_load "$run_dir/wrk" "$load_seconds"
    load=$!
    sleep 2
    inside dpkg -i /debs/2.deb >"$run_dir/dpkg-2.log" 2>&1 || fail 'it cannot be upgraded'
    [ "$(main_pid)" != "$before" ] || fail 'the process before is still the main one'
    wait "$load" || fail "wrk has failed: $(cat "$run_dir/wrk")"
    expect_no_failure "$run_dir/wrk"
    [ "$(property ActiveState)" = active ] || fail 'it does not run'
    [ "$(property NRestarts)" = 0 ] || fail 'systemd had to start it anew'
    expect_journal 'the new process is ready; draining'
    [ "$(inside readlink "/proc/$(main_pid)/exe")" = /usr/bin/ringway ] || fail 'the old program'
    ! in_journal 'reception only permitted' || fail 'systemd was told things by strangers'
    wait_until 'the process before to end' one_process
    inside systemctl reload ringway.service || fail 'the new process cannot be reloaded'
}

one_process() {
    [ "$(inside pgrep -c -x ringway)" = 1 ]
}

crash() {
    phase 'a crash'
    local before
    before=$(main_pid)
    inside kill -KILL "$before"
    wait_until 'systemd to start it anew' is_new "$before"
    [ "$(property NRestarts)" = 1 ] || fail 'that was not one restart'
    expect_answer '^(one|two)$'
}

# The process that has taken over is killed while the one before still has a request to wait for.
crash_while_draining() {
    phase 'a crash right after an upgrade'
    local before after
    before=$(main_pid)
    inside bash -c 'exec 3<>/dev/tcp/127.0.0.1/80; printf "GET / HTTP/1.1\r\n" >&3; sleep 30' &
    local client=$!
    wait_until 'the connection' connected
    inside ringway upgrade >/dev/null || fail 'it cannot be upgraded'
    after=$(main_pid)
    [ "$after" != "$before" ] || fail 'the process before is still the main one'
    inside kill -KILL "$after"
    wait_until 'systemd to start it anew' is_newer "$after" "$before"
    expect_journal 'the new process has failed'
    expect_answer '^(one|two)$'
    kill "$client" 2>/dev/null || true
    wait "$client" 2>/dev/null || true
}

connected() {
    [ -n "$(inside ss -Htn state established 'dport = :80')" ]
}

# Whether the service is up with a main process that is neither $1 nor $2.
is_newer() {
    is_new "$1" && is_new "$2"
}

stuck_worker() {
    phase 'a worker that is stuck'
    local before thread
    before=$(main_pid)
    inside install -D -m 644 /dev/stdin /etc/systemd/system/ringway.service.d/watchdog.conf \
        <<<$'[Service]\nWatchdogSec=4'
    inside systemctl daemon-reload
    inside systemctl restart ringway.service
    before=$(main_pid)
    expect_answer '^(one|two)$'
    thread=$(thread_outside worker-1)
    [ -n "$thread" ] || thread=$(thread_outside worker-0)
    [ -n "$thread" ] || fail 'no worker was found'
    # A tracer can stop one thread of a process; nothing else can.
    python3 - "$thread" <<'PYTHON' &
import ctypes, os, sys, time
PTRACE_SEIZE, PTRACE_INTERRUPT, LIMIT = 0x4206, 0x4207, 60
libc, thread = ctypes.CDLL(None, use_errno=True), int(sys.argv[1])
for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
    if libc.ptrace(request, thread, None, None) != 0:
        sys.exit(f"ptrace: {os.strerror(ctypes.get_errno())}")
until = time.monotonic() + LIMIT
while time.monotonic() < until and os.path.exists(f"/proc/{thread}"):
    try:
        os.waitpid(thread, os.WNOHANG | 0x40000000)
    except ChildProcessError:
        break
    time.sleep(0.05)
PYTHON
    tracer=$!
    expect_journal 'the worker is stuck'
    expect_journal 'Watchdog timeout'
    wait_until 'systemd to start it anew' is_new "$before"
    expect_answer '^(one|two)$'
    kill "$tracer" 2>/dev/null || true
    tracer=
    inside rm -r /etc/systemd/system/ringway.service.d
    inside systemctl daemon-reload
    inside systemctl restart ringway.service
}

# The thread of this name of the container's main process, by its number on this machine.
thread_outside() {
    local task
    for task in /proc/[0-9]*/task/*; do
        if [ "$(cat "$task/comm" 2>/dev/null)" = "$1" ] &&
            [ "$(awk '/^NSpid:/ { print $(NF - 1) }' "${task%/task/*}/status")" != "" ] &&
            grep -qs "^NSpid:.*[[:space:]]$(main_pid)\$" "${task%/task/*}/status"; then
            printf '%s\n' "${task##*/}"
            return
        fi
    done
}

# Puts the directory $1 of the service, with mode $2, on a small file system of its own.
on_small_disk() {
    inside mount -t tmpfs -o "size=256k,mode=$2" ringway "$1"
    inside chown ringway:ringway "$1"
}

fill() {
    inside sh -c "cat /dev/zero >$1/filler 2>/dev/null || true"
}

full_disk_of_the_state() {
    phase 'a full disk: of the state'
    inside systemctl stop ringway.service
    on_small_disk /var/lib/ringway 0700
    inside systemctl start ringway.service
    expect_answer '^(one|two)$'
    inside ringway targets deregister home 127.0.0.1:5002 >/dev/null
    fill /var/lib/ringway
    ! inside ringway targets deregister home 127.0.0.1:5001 2>"$run_dir/refused" ||
        fail 'a change that cannot be kept is accepted'
    grep -q 'No space left on device' "$run_dir/refused" ||
        fail "no reason is given: $(cat "$run_dir/refused")"
    expect_answer '^one$'
    inside systemctl restart ringway.service || fail 'it does not start while the disk is full'
    expect_answer '^one$'
    ! answers '^two$' || fail 'what was accepted before is gone'
    inside systemctl stop ringway.service
    inside umount /var/lib/ringway
    inside systemctl start ringway.service
}

# The service goes on while its log cannot be written, says so, and writes again when it can.
full_disk_of_the_logs() {
    phase 'a full disk: of the access log'
    local log=/var/log/ringway/access.log load
    config "access_log = { path = \"$log\", format = \"alb\", overflow = \"drop\" }" | write_config
    inside ringway check >/dev/null || fail 'an access log in LogsDirectory= is refused'
    inside systemctl stop ringway.service
    on_small_disk /var/log/ringway 0750
    inside systemctl start ringway.service
    wait_until 'a line of the access log' answered_and_logged "$log"
    start_load "$run_dir/wrk" 2
    load=$!
    wait "$load" || fail "wrk has failed: $(cat "$run_dir/wrk")"
    expect_no_failure "$run_dir/wrk"
    expect_journal 'No space left on device'
    wait_until 'dropped lines to be counted' is_counted ringway_worker_access_log_dropped_total
    inside truncate --size 0 "$log"
    wait_until 'a line of the access log, once there is room' answered_and_logged "$log"
    config '' | write_config
    inside systemctl stop ringway.service
    inside umount /var/log/ringway
    inside systemctl start ringway.service
}

answered_and_logged() {
    answers '^(one|two)$' && inside test -s "$1"
}

socket_activation() {
    phase 'socket activation'
    inside systemctl stop ringway.service
    inside systemctl start ringway.socket
    [ "$(property ActiveState)" = inactive ] || fail 'it runs already'
    expect_answer '^(one|two)$'
    wait_until 'the service to be ready' is_new 0
    # While it is restarted, connections wait.
    inside systemctl restart ringway.service &
    local restart=$! count
    for count in $(seq 20); do
        answers '^(one|two)$' || fail "connection $count was not served during a restart"
    done
    wait "$restart" || fail 'it cannot be restarted'
    local before
    before=$(main_pid)
    inside ringway upgrade >/dev/null || fail 'it cannot be upgraded'
    is_new "$before" || fail 'the process before is still the main one'
    expect_answer '^(one|two)$'
    inside systemctl stop ringway.service ringway.socket
    inside systemctl start ringway.service
    expect_answer '^(one|two)$'
}

stop() {
    phase 'stop'
    inside systemctl stop ringway.service
    [ "$(property Result)" = success ] || fail "the stop was a $(property Result)"
    expect_journal ' stopped connections='
    ! inside curl --silent --max-time 2 http://127.0.0.1/ || fail 'it still answers'
    ! inside pgrep -x ringway || fail 'a process is left'
}

# What the operator reads: priorities, no times of its own, no colours.
look_at_journal() {
    phase 'the journal'
    local word
    for word in 'ready: ' 'configuration in force' 'target health .* to=healthy' \
        'change refused' 'stopping; a second signal'; do
        in_journal "$word" || fail "the journal has no line like: $word"
    done
    ! grep $'\x1b' <<<"$(journal -o cat)" || fail 'colours'
    ! grep -E '^[0-9]{4}-[0-9]{2}-[0-9]{2}T' <<<"$(journal -o cat)" || fail 'times of its own'
    ! grep -F ' INFO ' <<<"$(journal -p err)" || fail 'priorities are wrong'
}

purge() {
    phase 'removal, and purge'
    inside dpkg --remove ringway >/dev/null
    inside test -e /etc/ringway/ringway.toml || fail 'the removal has taken the configuration'
    inside dpkg --purge ringway >/dev/null
    expect_nothing_left
    # Policy keeps the user, so that nobody else gets its number.
    inside getent passwd ringway >/dev/null || fail 'the user is gone'
}

# The way without dpkg: installed, once more to no effect, and removed again.
by_hand() {
    phase 'scripts/install.sh'
    local script=/ringway/scripts/install.sh
    inside "$script" --binary /debs/ringway --dry-run >"$run_dir/install" ||
        fail "$(cat "$run_dir/install")"
    ! inside test -e /usr/local/bin/ringway || fail 'a dry run has installed something'
    inside "$script" --binary /debs/ringway >"$run_dir/install" 2>&1 ||
        fail "$(cat "$run_dir/install")"
    expect_answer 'ringway is installed'
    local before
    before=$(main_pid)
    inside "$script" --binary /debs/ringway >"$run_dir/install" 2>&1 ||
        fail "$(cat "$run_dir/install")"
    ! grep -E '^(install|mv|mkdir) ' "$run_dir/install" || fail 'it was not the same already'
    [ "$(main_pid)" = "$before" ] || fail 'nothing has changed, but the process'
    inside "$script" --uninstall --purge >"$run_dir/install" 2>&1 ||
        fail "$(cat "$run_dir/install")"
    expect_nothing_left
}

expect_nothing_left() {
    local left
    left=$(inside find / -xdev \( -path /proc -o -path /sys -o -path /debs -o -path /ringway \
        -o -path /run/systemd -o -path /var/log/journal -o -path /run/log \) -prune \
        -o -iname '*ringway*' -print)
    [ -z "$left" ] || fail "left behind: $left"
    [ -z "$(inside systemctl list-unit-files --no-legend 'ringway*')" ] || fail 'units are left'
}

install_tools
run_dir=$(mkdir -p "$base" && mktemp -d "$base/run.XXXXXX")
bootstrap
package
boot
install_package
look_at_process
reload
look_from_outside
upgrade
crash
crash_while_draining
stuck_worker
full_disk_of_the_state
full_disk_of_the_logs
socket_activation
stop
look_at_journal
purge
by_hand
phase 'done'
