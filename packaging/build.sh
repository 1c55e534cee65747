#!/usr/bin/env bash
# Builds packaging/dist/wa-gateway, a folder that runs on any glibc >= 2.34 without Python, and its tarball,
# which holds all that "install.sh install" needs without a network.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

python=$PWD/.venv/bin/python3
work=$PWD/packaging/build dist=$PWD/packaging/dist

"$python" -c 'import PyInstaller' 2>/dev/null || {
    echo "build.sh: PyInstaller is missing; './install.sh test' installs it" >&2
    exit 1
}
mkdir -p -- "$work" "$dist"
exec 9>"$work/lock"
flock 9

# The bundle is as old as the sources that were read: what changes during the build is newer than it.
began=$(date +%s)
# Column numbers in tracebacks would make every module a quarter larger.
export PYTHONNODEBUGRANGES=1 PYTHONHASHSEED=1
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo "$began")
export SOURCE_DATE_EPOCH

"$python" -m PyInstaller --noconfirm --log-level WARN --workpath "$work/work" --distpath "$work/dist" packaging/appliance.spec
made=$work/dist/wa-gateway
version=$("$made/wa-gateway" version)
version=${version##* }
printf '%s\n' "$version" >"$made/VERSION"
cp -- LICENSE config.example.toml packaging/upgrade.sh packaging/health.sh "$made/"
cp -- packaging/appliance.sh "$made/install.sh"
cp -- packaging/appliance.service "$made/wa-gateway.service"
touch -d "@$began" -- "$made/wa-gateway"

name=wa-gateway-$version-linux-$(uname -m)
tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
    --directory "$work/dist" --transform "s,^wa-gateway,$name," wa-gateway | gzip --no-name -6 >"$work/$name.tar.gz"

rm -rf -- "$dist/wa-gateway"
mv -- "$made" "$dist/wa-gateway"
mv -- "$work/$name.tar.gz" "$dist/$name.tar.gz"
(cd -- "$dist" && sha256sum -- *.tar.gz >SHA256SUMS)
du -sh -- "$dist/wa-gateway" "$dist/$name.tar.gz"
