#!/bin/sh
# Regenerates both lock files from pyproject.toml: exact versions and the hashes of every file of each version.
# Versions already locked stay; pass --upgrade (or --upgrade-package NAME) to move them.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
trap 'exit 130' INT TERM
cd "$here"

python=
for candidate in /usr/bin/python3.11 python3.11; do
    if command -v "$candidate" >/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || { echo "lock.sh: Python 3.11, the oldest supported version, must resolve the locks" >&2; exit 1; }

"$python" -m venv "$tools/venv"
"$tools/venv/bin/pip" install --quiet --disable-pip-version-check 'pip-tools==7.6.2'

compile() {
    CUSTOM_COMPILE_COMMAND=packaging/lock.sh "$tools/venv/bin/pip-compile" --quiet --no-config --strip-extras \
        --generate-hashes --allow-unsafe --no-emit-options --annotation-style line --build-deps-for editable "$@" pyproject.toml
}

compile "$@" --output-file packaging/requirements.lock
compile "$@" --extra test --constraint packaging/requirements.lock --output-file packaging/requirements-test.lock
