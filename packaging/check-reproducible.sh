#!/usr/bin/env bash
# Builds what is committed twice, at once, in two folders, and fails unless both tarballs and both single executables
# are the same byte for byte. Takes a minute or two of two cores.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

[ $# = 0 ] || { echo "Usage: packaging/check-reproducible.sh" >&2 && exit 2; }
checkout=$PWD
place=$(mktemp -d)
trap 'rm -rf -- "$place"' EXIT
commit=$(git rev-parse --short HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct "$commit")
export SOURCE_DATE_EPOCH

build_in() {
    mkdir -p -- "$1"
    git archive "$commit" | tar --extract --directory "$1"
    ln -s -- "$checkout/.venv" "$1/.venv"
    # A cache of stripped files of its own: one build must not take what the other made.
    PYINSTALLER_CONFIG_DIR=$1/cache "$1/packaging/build.sh" --onefile >"$1.log" 2>&1 || { cat -- "$1.log" >&2 && false; }
}

build_in "$place/one" &
one=$!
build_in "$place/elsewhere/two"
wait "$one"
cat -- "$place/one/packaging/dist/SHA256SUMS"
cmp -- "$place/one/packaging/dist/SHA256SUMS" "$place/elsewhere/two/packaging/dist/SHA256SUMS" || {
    echo "check-reproducible.sh: two builds of one commit differ:" >&2
    diff -rq -- "$place/one/packaging/dist/wa-gateway" "$place/elsewhere/two/packaging/dist/wa-gateway" >&2 || true
    exit 1
}
echo "two builds of $commit are the same, byte for byte"
