#!/usr/bin/env bash
# Installs ringway on a box without dpkg (on Debian and Ubuntu, take the package instead): the
# program, its systemd units, user, directories, man pages and completions, and the configuration
# if there is none yet. Where ringway runs already, the new program takes over without losing a
# connection. To run it again does no harm.
#
#   scripts/install.sh                  below /usr/local, and starts the service
#   scripts/install.sh --prefix DIR     below DIR instead
#   scripts/install.sh --binary FILE    this program; otherwise the one beside this script (in the
#                                       archive of package.sh --static), or the release build
#   scripts/install.sh --uninstall      removes what was installed, but for configuration, state,
#                                       logs and the user
#   scripts/install.sh --uninstall --purge      those too, but for the user
#   scripts/install.sh --root DIR       for another system, whose root is mounted at DIR: files only
#   scripts/install.sh --dry-run        says what it would do, and does nothing
#
# Needs root where it writes to directories of root's. Units go to PREFIX/lib/systemd/system, which
# systemd reads below /usr and /usr/local only: with another prefix they are linked.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

prefix=/usr/local
root=
binary=
action=install
purge=no
dry_run=no

usage() {
    sed -n '2,/^set -euo/{/^set -euo/d;s/^# \{0,1\}//;p}' "$0"
}

fail() {
    printf 'install.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

while [ "$#" -gt 0 ]; do
    case "$1" in
    --prefix | --root | --binary)
        [ "$#" -ge 2 ] || fail "$1 needs a value" 2
        declare "${1#--}=$2"
        shift
        ;;
    --uninstall) action=uninstall ;;
    --purge) purge=yes ;;
    --dry-run) dry_run=yes ;;
    --help | -h)
        usage
        exit 0
        ;;
    *) fail "there is no option $1; --help lists them" 2 ;;
    esac
    shift
done
[ "${prefix#/}" != "$prefix" ] || fail "--prefix has to begin with a slash" 2
[ "$purge" = no ] || [ "$action" = uninstall ] || fail "--purge goes with --uninstall" 2
prefix=${prefix%/}
root=${root%/}

# In the archive, all is beside this script; in the repository, one up.
source=$here
[ -d "$source/systemd" ] || source=$(dirname "$here")
[ -d "$source/systemd" ] || fail "there is no directory systemd beside $here"

# Says what it does, and does it unless --dry-run.
run() {
    printf '%s\n' "$*"
    [ "$dry_run" = yes ] || "$@"
}

# Whether the service manager of this very system is there to be told.
has_systemd() {
    [ -z "$root" ] && [ -d /run/systemd/system ]
}

# Installs $1 as $2 with mode $3, unless it is the same already.
put() {
    local from=$1 to=$root$2 mode=$3
    if cmp -s "$from" "$to"; then
        return
    fi
    run mkdir -p "$(dirname "$to")"
    # A running program cannot be written to, but its name can be given to another file.
    run install -m "$mode" "$from" "$to.new"
    run mv -f "$to.new" "$to"
}

unit_dir=$prefix/lib/systemd/system

# Where each file that is installed goes: all of them, and nothing else, is removed again.
targets() {
    cat <<LIST
$prefix/bin/ringway
$unit_dir/ringway.service
$unit_dir/ringway.socket
$prefix/lib/sysusers.d/ringway.conf
$prefix/lib/tmpfiles.d/ringway.conf
$prefix/lib/sysctl.d/60-ringway.conf
$prefix/share/ringway/ringway.schema.json
$prefix/share/ringway/openapi.json
$prefix/share/doc/ringway/ringway.toml
$prefix/share/doc/ringway/operations.md
$prefix/share/bash-completion/completions/ringway
$prefix/share/zsh/site-functions/_ringway
$prefix/share/fish/vendor_completions.d/ringway.fish
LIST
}

find_binary() {
    local candidate
    for candidate in ${binary:+"$binary"} "$source/ringway" "$source/target/release/ringway"; do
        if [ -x "$candidate" ] && [ ! -d "$candidate" ]; then
            binary=$candidate
            return
        fi
        [ -z "$binary" ] || fail "$binary is not a program"
    done
    fail "there is no program to install: \`cargo build --release\` makes one, --binary names one"
}

install_files() {
    local made page
    made=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$made'" EXIT
    "$binary" man "$made/man"
    "$binary" completions bash >"$made/bash"
    "$binary" completions zsh >"$made/zsh"
    "$binary" completions fish >"$made/fish"
    sed "s|/usr/bin/ringway|$prefix/bin/ringway|" "$source/systemd/ringway.service" >"$made/service"

    put "$binary" "$prefix/bin/ringway" 755
    put "$made/service" "$unit_dir/ringway.service" 644
    put "$source/systemd/ringway.socket" "$unit_dir/ringway.socket" 644
    put "$source/systemd/sysusers.conf" "$prefix/lib/sysusers.d/ringway.conf" 644
    put "$source/systemd/tmpfiles.conf" "$prefix/lib/tmpfiles.d/ringway.conf" 644
    put "$source/systemd/sysctl.conf" "$prefix/lib/sysctl.d/60-ringway.conf" 644
    put "$source/conf/ringway.schema.json" "$prefix/share/ringway/ringway.schema.json" 644
    put "$source/conf/openapi.json" "$prefix/share/ringway/openapi.json" 644
    put "$source/conf/ringway.toml" "$prefix/share/doc/ringway/ringway.toml" 644
    page=$source/docs/operations.md
    [ -f "$page" ] || page=$source/operations.md
    put "$page" "$prefix/share/doc/ringway/operations.md" 644
    put "$made/bash" "$prefix/share/bash-completion/completions/ringway" 644
    put "$made/zsh" "$prefix/share/zsh/site-functions/_ringway" 644
    put "$made/fish" "$prefix/share/fish/vendor_completions.d/ringway.fish" 644
    for page in "$made"/man/*.1; do
        put "$page" "$prefix/share/man/man1/${page##*/}" 644
    done
    if [ -e "$root/etc/ringway/ringway.toml" ]; then
        printf 'kept: %s/etc/ringway/ringway.toml\n' "$root"
    else
        put "$source/packaging/ringway.toml" /etc/ringway/ringway.toml 644
    fi
}

# Whether systemd reads units, users and directories below the prefix by itself.
prefix_is_usual() {
    [ "$prefix" = /usr ] || [ "$prefix" = /usr/local ]
}

start_service() {
    local unit
    run systemd-sysusers "$prefix/lib/sysusers.d/ringway.conf"
    run systemd-tmpfiles --create "$prefix/lib/tmpfiles.d/ringway.conf" ||
        printf 'install.sh: not every directory has an access control list; see above\n' >&2
    if ! prefix_is_usual; then
        for unit in ringway.service ringway.socket; do
            run systemctl --quiet link "$unit_dir/$unit"
        done
    fi
    run systemctl daemon-reload
    if systemctl --quiet is-active ringway.service; then
        run systemctl reload ringway.service
    else
        run systemctl --quiet enable --now ringway.service
    fi
    printf 'kernel parameters for a busy proxy: sysctl -p %s/lib/sysctl.d/60-ringway.conf\n' \
        "$prefix"
}

stop_service() {
    local unit
    for unit in ringway.socket ringway.service; do
        if systemctl --quiet is-active "$unit"; then
            run systemctl stop "$unit"
        fi
        if systemctl cat "$unit" >/dev/null 2>&1; then
            run systemctl --quiet disable "$unit"
        fi
    done
}

remove_files() {
    local path page
    path=$root$prefix/share/man/man1
    for page in "$path"/ringway.1 "$path"/ringway-*.1; do
        [ ! -e "$page" ] || run rm -f "$page"
    done
    while read -r path; do
        [ ! -e "$root$path" ] || run rm -f "$root$path"
    done < <(targets)
    for path in "$prefix/share/ringway" "$prefix/share/doc/ringway"; do
        [ ! -d "$root$path" ] || run rmdir --ignore-fail-on-non-empty "$root$path"
    done
    if [ "$purge" = yes ]; then
        for path in /etc/ringway/ringway.toml /var/lib/ringway /var/log/ringway /run/ringway; do
            [ ! -e "$root$path" ] || run rm -rf "$root$path"
        done
        [ ! -d "$root/etc/ringway" ] || run rmdir --ignore-fail-on-non-empty "$root/etc/ringway"
    fi
}

if [ "$action" = install ]; then
    find_binary
    install_files
    if has_systemd; then
        start_service
    else
        printf 'no systemd here: the user, directories and service are for you to make\n'
    fi
else
    if has_systemd; then stop_service; fi
    remove_files
    if has_systemd; then run systemctl daemon-reload; fi
fi
