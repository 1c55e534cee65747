#!/usr/bin/env bash
# Builds the bundle for 64-bit ARM on any machine: a Debian 12 root under qemu-user, packaging/build.sh inside it,
# then the result is started there and a sandbox message goes there and back over HTTP (packaging/smoke.py).
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'END'
Usage: packaging/build-arm64.sh [CACHE]

Leaves packaging/dist/wa-gateway-<version>-linux-aarch64.tar.gz, made of what is committed.
CACHE (default: ~/.cache/wa-gateway) keeps the Debian root and its packages: a second run takes a fraction of the
first. Must be root. Needs the Debian packages debootstrap and qemu-user-static, and what ./install.sh test sets up.
MIRROR=URL names another Debian mirror than the one apt uses here.
END
}

say() { printf 'build-arm64.sh: %5d s  %s\n' "$SECONDS" "$*" >&2; }
die() { say "$*" && exit 1; }

case ${1-} in -*) usage >&2 && exit 2 ;; esac
cache=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/wa-gateway}
root=$cache/debian-12-arm64
packages=python3,python3-venv,libpython3.11,binutils,ca-certificates
inside=(chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8)
binfmt=/proc/sys/fs/binfmt_misc handler='' gateway=''

# Undoes what this run has set up.
leave() {
    if [ -n "$gateway" ]; then
        kill -TERM "$gateway" 2>/dev/null || true
        wait "$gateway" 2>/dev/null || true
    fi
    for place in dev proc; do
        ! mountpoint -q "$root/$place" || umount -l -- "$root/$place"
    done
    [ -z "$handler" ] || echo -1 >"$handler"
}

# The kernel must know who runs a foreign program. The flag F of the line has it open qemu now, outside the root.
teach_the_kernel() {
    [ "$(uname -m)" != aarch64 ] || return 0
    [ -e "$binfmt/register" ] || mount -t binfmt_misc binfmt_misc "$binfmt" ||
        die "binfmt_misc cannot be mounted here, and without it nothing runs the root's programs"
    [ ! -e "$binfmt/qemu-aarch64" ] || return 0
    local line=/usr/lib/binfmt.d/qemu-aarch64.conf
    [ -r "$line" ] || die "please install qemu-user-static"
    tr -d '\n' <"$line" >"$binfmt/register"
    handler=$binfmt/qemu-aarch64
}

make_root() {
    [ ! -e "$root/.ready" ] || return 0
    command -v debootstrap >/dev/null || die "please install debootstrap"
    # shellcheck disable=SC2016  # apt's own words
    local mirror=${MIRROR:-$(apt-get indextargets --format '$(CODENAME) $(SITE)' | sed -n 's/^bookworm //p' | head -n 1)}
    [ -n "$mirror" ] || die "apt knows no mirror of Debian 12 here; name one: MIRROR=URL $0"
    say "making a Debian 12 root for arm64 in $root; this takes ten minutes or more"
    rm -rf --one-file-system -- "$root"
    mkdir -p -- "$cache"
    debootstrap --arch=arm64 --variant=minbase --include="$packages" bookworm "$root" "$mirror" >"$cache/debootstrap.log" 2>&1 ||
        die "debootstrap failed; its last words: $(tail -n 3 -- "$cache/debootstrap.log")"
    touch -- "$root/.ready"
}

open_root() {
    mount --bind /proc "$root/proc"
    mount --bind /dev "$root/dev"
    local file
    for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
        [ ! -e "$file" ] || cp -L -- "$file" "$root$file"
    done
}

install_packages() {
    .venv/bin/python3 packaging/locked.py requirements >"$root/build.lock.new"
    ! cmp -s -- "$root/build.lock.new" "$root/build.lock" || return 0
    say "installing $(grep -c == "$root/build.lock.new") locked packages"
    [ -x "$root/venv/bin/pip" ] || "${inside[@]}" python3 -m venv /venv
    "${inside[@]}" /venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r /build.lock.new
    mv -- "$root/build.lock.new" "$root/build.lock"
}

build() {
    local commit
    commit=$(git rev-parse --short HEAD)
    say "building commit $commit"
    rm -rf -- "$root/src"
    mkdir -- "$root/src"
    git archive "$commit" | tar --extract --directory "$root/src"
    ln -s /venv "$root/src/.venv"
    "${inside[@]}" SOURCE_DATE_EPOCH="$(git log -1 --format=%ct "$commit")" /src/packaging/build.sh
}

# Unpacks the tarball as its owner would, starts the gateway and talks to it from outside the root.
try_it() {
    rm -rf -- "$root/tried"
    mkdir -- "$root/tried"
    tar --extract --strip-components 1 --directory "$root/tried" --file "$root"/src/packaging/dist/wa-gateway-*-linux-aarch64.tar.gz
    "${inside[@]}" uname -srm >&2
    local port key before=$SECONDS
    port=$(.venv/bin/python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
    say "starting it on port $port"
    "${inside[@]}" /tried/wa-gateway serve --data-dir /tried/data --set "server.port=$port" >"$cache/gateway.log" 2>&1 &
    gateway=$!
    until curl --silent --fail --output /dev/null "http://127.0.0.1:$port/readyz"; do
        kill -0 "$gateway" 2>/dev/null || die "the gateway ended: $(tail -n 5 -- "$cache/gateway.log")"
        [ $((SECONDS - before)) -lt 300 ] || die "the gateway was not ready within five minutes"
        sleep 0.2
    done
    say "ready after $((SECONDS - before)) s"
    key=$(printf 'a long password\n' | "${inside[@]}" /tried/wa-gateway user create --data-dir /tried/data \
        --email smoke@example.test --password-stdin)
    .venv/bin/python3 packaging/smoke.py --wait 120 "http://127.0.0.1:$port" <<<"$key"
    kill -TERM "$gateway"
    wait "$gateway" || die "the gateway ended with exit code $?"
    gateway=''
}

hand_over() {
    mkdir -p packaging/dist
    cp -- "$root"/src/packaging/dist/wa-gateway-*-linux-aarch64.tar.gz packaging/dist/
    (cd packaging/dist && sha256sum -- wa-gateway-*-linux-* >SHA256SUMS.new && mv -- SHA256SUMS.new SHA256SUMS)
    (cd packaging/dist && du -h -- *aarch64.tar.gz && grep aarch64 SHA256SUMS)
}

[ "$(id -u)" = 0 ] || die "must be root, to make and enter the Debian root"
trap leave EXIT
teach_the_kernel
make_root
open_root
install_packages
build
try_it
hand_over
say "done"
