#!/usr/bin/env bash
# Builds what is installed: a Debian package, or a static program with its files in an archive.
#
#   scripts/package.sh                  target/package/ringway_VERSION_ARCH.deb
#   scripts/package.sh --static         target/package/ringway-VERSION-ARCH-linux-static.tar.gz: for
#                                       any Linux, with musl or an old glibc; ./install.sh inside
#   scripts/package.sh --version V      with this version instead of the one in Cargo.toml
#   scripts/package.sh --binary FILE    with this program instead of building one (a debug build for
#                                       scripts/test-service.sh, for instance)
#   scripts/package.sh --fast           compresses the package less
#
# Man pages and completions are made by the program itself (for the archive: by install.sh).
# Installs what is missing: cargo-deb by cargo; with --static, the Rust target by rustup and
# musl-tools by apt-get, as root or with sudo. Needs cargo; the program is built with
# `cargo build --release`, which takes minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

static=no
fast=
version=
binary=
target_dir=${CARGO_TARGET_DIR:-$PWD/target}
# Not below CARGO_TARGET_DIR: Cargo.toml names the man pages and completions by this path.
out=$PWD/target/package

usage() {
    sed -n '2,/^set -euo/{/^set -euo/d;s/^# \{0,1\}//;p}' "$0"
}

while [ "$#" -gt 0 ]; do
    case "$1" in
    --static) static=yes ;;
    --fast) fast=--fast ;;
    --version)
        version=${2:?--version needs a value}
        shift
        ;;
    --binary)
        binary=$(realpath "${2:?--binary needs a file}")
        shift
        ;;
    --help | -h)
        usage
        exit 0
        ;;
    *)
        printf 'package.sh: there is no option %s\n\n' "$1" >&2
        usage >&2
        exit 2
        ;;
    esac
    shift
done

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# The program for this machine's libc; its path.
build() {
    if [ -z "$binary" ]; then
        cargo build --release >&2
        binary=$target_dir/release/ringway
    fi
}

# The same without a libc of the machine; its path.
build_static() {
    local triple
    triple=$(uname -m)-unknown-linux-musl
    if [ -z "$binary" ]; then
        rustup target list --installed | grep -qx "$triple" || rustup target add "$triple"
        # The allocator is C.
        command -v musl-gcc >/dev/null ||
            as_root env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y --no-install-recommends musl-tools
        cargo build --release --target "$triple" >&2
        binary=$target_dir/$triple/release/ringway
    fi
}

# Man pages and completions.
generate() {
    rm -rf "$out/man" "$out/completions"
    mkdir -p "$out/man" "$out/completions"
    "$binary" man "$out/man"
    "$binary" completions bash >"$out/completions/ringway.bash"
    "$binary" completions zsh >"$out/completions/_ringway"
    "$binary" completions fish >"$out/completions/ringway.fish"
}

own_version() {
    sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml
}

debian_package() {
    command -v cargo-deb >/dev/null || cargo install cargo-deb --locked
    build
    generate
    # cargo-deb takes the program from where a release build would be.
    if [ "$binary" != "$target_dir/release/ringway" ]; then
        mkdir -p "$out/target/release"
        install -m 755 "$binary" "$out/target/release/ringway"
        export CARGO_TARGET_DIR=$out/target
    fi
    cargo deb --no-build --quiet --output "$out/" $fast ${version:+--deb-version "$version"}
}

archive() {
    build_static
    local name tree
    name=ringway-${version:-$(own_version)}-$(uname -m)-linux-static
    tree=$out/$name
    rm -rf "$tree"
    mkdir -p "$tree"
    install -m 755 -s "$binary" "$tree/ringway"
    cp -r systemd conf packaging scripts/install.sh "$tree/"
    cp README.md CHANGELOG.md LICENSE "$tree/"
    cp docs/operations.md docs/doctor.md docs/metrics.md docs/tracing.md "$tree/"
    tar -C "$out" --owner=0 --group=0 -czf "$out/$name.tar.gz" "$name"
    rm -rf "$tree"
    printf '%s\n' "$out/$name.tar.gz"
}

mkdir -p "$out"
if [ "$static" = yes ]; then archive; else debian_package; fi
