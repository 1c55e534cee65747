#!/bin/sh
# Sets WA Gateway up inside its own checkout (everything goes to .venv) and starts it, or runs its tests; or makes it a service.
set -eu

start=$(pwd)
here=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")" && pwd -P)
venv=$here/.venv
# Written last, so a .venv without it is a crashed or foreign one and is built anew.
stamp=$venv/.installed
run_lock=packaging/requirements.lock test_lock=packaging/requirements-test.lock
python='' missing=''
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_NO_CACHE_DIR=1 PIP_USER=0

usage() {
    cat <<'END'
Usage: ./install.sh run [options]     start the gateway in the foreground; the first start installs it into .venv
       ./install.sh test [options]    install what the tests need, then lint, type-check and test
       sudo ./install.sh install | upgrade | uninstall    make what packaging/build.sh built a service of this machine

run passes its options to "wa-gateway serve": --config FILE, --data-dir DIR, --set section.key=value.
test passes its options to pytest. Data is kept in ./data of this checkout unless told otherwise.
END
}

say() { printf 'install.sh: %s\n' "$*" >&2; }
die() { say "$*" && exit 1; }

# The system's own Python first: a private one is often built without the shared library PyInstaller bundles.
find_python() {
    for python in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    done
    return 1
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 \
        install -y --no-install-recommends "$@" </dev/null
}

# Installs the Debian packages collected in $missing, or says how to.
install_missing() {
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || die "please install what these Debian packages hold, then run this again:$missing"
    [ "$(id -u)" = 0 ] || die "system packages are missing; install them, then run this again:" \
        "sudo apt-get install -y --no-install-recommends$missing"
    say "installing system packages:$missing"
    # shellcheck disable=SC2086  # a list of package names, meant to be split
    apt_install $missing >/dev/null 2>&1 || output=$({ apt-get -qq update && apt_install $missing; } 2>&1) ||
        die "apt-get could not install$missing, and says: $output"
    missing=
}

need_python() {
    find_python || command -v python3 >/dev/null || { missing=' python3 python3-venv' && install_missing; }
    find_python || die "Python 3.11 or newer is needed, and this system's python3 is older;" \
        "on Ubuntu 22.04: sudo apt-get install -y python3.11 python3.11-venv"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing ${python##*/}-venv"
    # Debian's pip and the WhatsApp library both trust the system's list of certificate authorities.
    [ ! -e /etc/debian_version ] || [ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
}

need_test_tools() {
    for tool in node:nodejs npm:npm chromium:chromium objdump:binutils git:git shellcheck:shellcheck systemd-analyze:systemd; do
        command -v "${tool%:*}" >/dev/null || missing="$missing ${tool#*:}"
    done
    shared=lib$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    # PyInstaller bundles Python's shared library; Playwright's own driver needs libatomic.
    for library in "$shared.so.1.0:$shared" libatomic.so.1:libatomic1; do
        "$python" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "${library%:*}" 2>/dev/null || missing="$missing ${library#*:}"
    done
    install_missing
    node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' ||
        die "the tests need Node 18 or newer, and this is $(node --version)"
}

sum() { sha256sum -- "$here/$1" | cut -d ' ' -f 1; }
stamped() { grep -qxF -- "$1" "$stamp" 2>/dev/null; }

# A moved checkout or another system Python leaves a .venv that cannot start, whatever it holds.
base_is_ready() {
    [ -f "$stamp" ] && [ -x "$venv/bin/python3" ] && [ -x "$venv/bin/wa-gateway" ] && stamped "place $here" &&
        stamped "python $(readlink -f -- "$venv/bin/python3")" && stamped "run $(sum "$run_lock")"
}

tests_are_ready() { stamped "test $(sum "$test_lock")"; }

is_ready() { base_is_ready && stamped "project $(sum pyproject.toml)" && { [ "$1" = run ] || tests_are_ready; }; }

# pip's words reach the user only from its first complaint on.
show_progress() {
    fetched=0 status=1 loud=no
    while IFS= read -r line; do
        case $line in
            'pip is done') status=0 loud=no ;;
            ERROR:* | WARNING:*) loud=yes ;;
            Collecting\ * | Requirement\ already\ *)
                fetched=$((fetched + 1))
                [ $((fetched % 10)) -ne 0 ] || say "  $fetched of $1 fetched" ;;
            Installing\ *) say "  unpacking" ;;
        esac
        [ "$loud" = no ] || printf '%s\n' "$line" >&2
    done
    return "$status"
}

install_locked() {
    count=$(grep -c '^[^ #].*==' "$here/$1")
    say "installing $count locked packages into .venv; only once, it takes a minute or two"
    {
        "$venv/bin/python3" -I -m pip install --require-hashes --only-binary :all: --progress-bar off \
            -r "$here/$1" </dev/null 2>&1 && echo 'pip is done'
    } | show_progress "$count" || die "the packages could not be installed (pip's reason is above); run this again to start over"
}

build() {
    has_tests=no
    if base_is_ready; then
        ! tests_are_ready || has_tests=yes
        rm -f -- "$stamp"
    else
        "$here/packaging/appliance.sh" check-platform || exit 1
        need_python
        install_missing
        rm -rf -- "$venv"
        output=$("$python" -I -m venv "$venv" 2>&1) || die "$python could not create .venv: $output"
        [ "$1" = test ] || install_locked "$run_lock"
    fi
    if [ "$1" = test ] && [ "$has_tests" = no ]; then
        install_locked "$test_lock"
        has_tests=yes
    fi
    "$venv/bin/python3" -I -m pip install --quiet --no-index --no-deps --no-build-isolation -e "$here" </dev/null ||
        die "the project itself could not be installed into .venv (pip's reason is above)"
    {
        printf 'place %s\npython %s\n' "$here" "$(readlink -f -- "$venv/bin/python3")"
        printf 'run %s\nproject %s\n' "$(sum "$run_lock")" "$(sum pyproject.toml)"
        [ "$has_tests" = no ] || printf 'test %s\n' "$(sum "$test_lock")"
    } >"$stamp.new"
    mv -f -- "$stamp.new" "$stamp"
}

# Makes .venv ready for "run" or "test"; two at a time wait for each other.
prepare() {
    ! is_ready "$1" || return 0
    trap 'die "interrupted; run this again to start over"' INT TERM HUP
    exec 9<"$here/install.sh"
    flock -n 9 || { say "another install.sh is at work here; waiting for it"; flock 9; }
    is_ready "$1" || build "$1"
    exec 9<&-
    trap - INT TERM HUP
}

absolute() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s' "$start/$1" ;; esac; }

# The program runs in the checkout, where its ./data is; paths given here mean the caller's directory.
run() {
    prepare run
    previous=
    for argument in "$@"; do
        shift
        case $previous in --config | --data-dir) argument=$(absolute "$argument") ;; esac
        case $argument in --config=* | --data-dir=*) argument=${argument%%=*}=$(absolute "${argument#*=}") ;; esac
        previous=$argument
        set -- "$@" "$argument"
    done
    cd -- "$here"
    exec "$venv/bin/wa-gateway" serve "$@"
}

step() {
    printf '== %s\n' "$*"
    tool=$venv/bin/$1 && shift && "$tool" "$@"
}

run_tests() {
    need_python
    need_test_tools
    prepare test
    cd -- "$here"
    step ruff check .
    step ruff format --check .
    step mypy
    # Files side by side in the order of their names: the long ones, crash and e2e, are not last.
    step pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
}

case ${1-} in
    run) shift && run "$@" ;;
    test) shift && run_tests "$@" ;;
    install | upgrade | uninstall) exec "$here/packaging/appliance.sh" "$@" ;;
    help | -h | --help) usage ;;
    *) usage >&2 && exit 2 ;;
esac
