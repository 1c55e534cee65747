#!/usr/bin/env bash
# Builds packaging/dist/wa-gateway, a folder that runs on any glibc >= 2.34 without Python, and its tarball,
# which holds all that "install.sh install" needs without a network: the same bytes for the same commit.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'END'
Usage: packaging/build.sh [--onefile]

--onefile   also make a single executable that unpacks itself into the folder for temporary files at each start
END
}

die() { echo "build.sh: $*" >&2 && exit 1; }

case $* in
    '') onefile=no ;;
    --onefile) onefile=yes ;;
    *) usage >&2 && exit 2 ;;
esac

python=$PWD/.venv/bin/python3
work=$PWD/packaging/build dist=$PWD/packaging/dist

"$python" -c 'import PyInstaller' 2>/dev/null || die "PyInstaller is missing; './install.sh test' installs it"
"$python" packaging/locked.py check ||
    die "a bundle is made of exactly what the lock files name; './install.sh test' installs that"
mkdir -p -- "$work" "$dist"
exec 9>"$work/lock"
flock 9

# The bundle is as old as the sources that were read: what changes during the build is newer than it.
began=$(date +%s)
# Column numbers in tracebacks would make every module a quarter larger.
export PYTHONNODEBUGRANGES=1 PYTHONHASHSEED=1 LC_ALL=C.UTF-8
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || echo "$began")}"
export SOURCE_DATE_EPOCH
umask 022

made=$work/dist/wa-gateway spec_options=()
[ "$onefile" = no ] || spec_options=(-- --onefile)
rm -rf -- "$work/work" "$work/dist"
"$python" -m PyInstaller --noconfirm --log-level WARN --workpath "$work/work" --distpath "$work/dist" \
    packaging/appliance.spec "${spec_options[@]}"
version=$("$made/wa-gateway" version)
version=${version##* }
name=wa-gateway-$version-linux-$(uname -m)
printf '%s\n' "$version" >"$made/VERSION"
cp -- LICENSE config.example.toml packaging/config.pi.toml packaging/upgrade.sh packaging/health.sh "$made/"
cp -- packaging/appliance.sh "$made/install.sh"
cp -- packaging/appliance.service "$made/wa-gateway.service"
cp -r -- packaging/monitoring "$made/"
PYTHONPATH=$PWD "$python" packaging/papers.py "$work/work/appliance/contents.json" "$made"
touch -d "@$began" -- "$made/wa-gateway"

tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --format=gnu \
    --mode=u=rwX,go=rX --directory "$work/dist" --transform "s,^wa-gateway,$name," wa-gateway |
    gzip --no-name -6 >"$work/$name.tar.gz"

rm -rf -- "$dist/wa-gateway"
mv -- "$made" "$dist/wa-gateway"
mv -- "$work/$name.tar.gz" "$dist/"
[ "$onefile" = no ] || mv -- "$work/dist/wa-gateway-onefile" "$dist/$name"
(cd -- "$dist" && sha256sum -- wa-gateway-*-linux-* >SHA256SUMS.new && mv -- SHA256SUMS.new SHA256SUMS)
du -sh -- "$dist/wa-gateway" "$dist/$name"*
