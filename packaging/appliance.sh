#!/bin/sh
# Makes WA Gateway a service of this machine, upgrades it, removes it. The bundle lies beside this script; nothing is fetched.
set -eu
umask 022

here=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")" && pwd -P)
name=wa-gateway
top=/opt/$name settings=/etc/$name data=/var/lib/$name command=/usr/local/bin/$name unit=/etc/systemd/system/$name.service
changed=no version='' current=''

usage() {
    cat <<'END'
Usage: sudo ./install.sh install                      make it a service and start it
       sudo ./install.sh upgrade [--allow-downgrade]  put this version in the place of the installed one; back again if it fails
       sudo ./install.sh uninstall [--purge] [--yes]  remove the service; with --purge also all data and settings
       ./install.sh run [options]                     only try it: in the foreground, with ./data
END
}

say() { printf 'install.sh: %s\n' "$*" >&2; }
die() { say "$*" && exit 1; }

check_platform() {
    system="$(uname -sm), $(getconf LONG_BIT)-bit, $(getconf GNU_LIBC_VERSION 2>/dev/null || echo 'no glibc')"
    case $system in
        'Linux x86_64, 64-bit, glibc 2.'* | 'Linux aarch64, 64-bit, glibc 2.'*) [ "${system##*.}" -lt 34 ] || return 0 ;;
    esac
    die "not supported here: it takes 64-bit Linux on x86_64 or aarch64 with glibc 2.34 or newer" \
        "(Debian 12, Ubuntu 22.04, Raspberry Pi OS 12, or later), and this is $system"
}

find_bundle() {
    check_platform
    bundle=$here
    [ -x "$bundle/$name" ] || bundle=$here/dist/$name
    [ -x "$bundle/$name" ] || die "there is no bundle here: unpack the tarball and use the install.sh in it," \
        "or make one in this checkout: ./install.sh test --version && packaging/build.sh"
    version=$("$bundle/$name" version 2>/dev/null) || die "the bundle here is made for another machine than this $(uname -m)"
    version=${version##* }
}

# shellcheck source=packaging/health.sh
. "$here/health.sh"

need_root() { [ "$(id -u)" = 0 ] || die "this must be done as root: sudo ./install.sh $1"; }
is_in_use() { [ -e "$data/gateway.lock" ] && ! flock --nonblock "$data/gateway.lock" true; }

# put FILE MODE GROUP: writes what it reads, unless it stands there already; all of it or nothing.
put() {
    new=$(cat && echo .)
    # Looked at first: to go back to what is there takes no room on the disk.
    ! printf %s "${new%.}" | cmp -s -- - "$1" || return 0
    printf %s "${new%.}" >"$1.new" && chmod -- "$2" "$1.new" && chown -- "root:$3" "$1.new" && mv -f -- "$1.new" "$1" &&
        changed=yes
}

# folder PATH MODE OWNER GROUP: nobody's mode or owner is changed when it is there.
folder() {
    [ ! -d "$1" ] || return 0
    install -d -m "$2" -o "$3" -g "$4" -- "$1"
    changed=yes
}

# lay_down FOLDER: it gets its name when all of it is on the disk: a power cut leaves no half version.
lay_down() {
    rm -rf -- "$top/.new" "${top:?}/$1"
    mkdir -p -- "$top"
    { cp -RP --preserve=mode,timestamps -- "$bundle" "$top/.new" && sync; } ||
        { rm -rf -- "$top/.new"; die "the bundle could not be copied to $top; nothing else was changed"; }
    chown -R root:root -- "$top/.new"
    chmod -R u=rwX,go=rX -- "$top/.new"
    mv -T -- "$top/.new" "$top/$1"
    changed=yes
}

point_to() {
    [ "$(readlink -- "$top/current" || :)" != "$1" ] || return 0
    ln -sfn -- "$1" "$top/current.new" && mv -T -- "$top/current.new" "$top/current" && changed=yes
}

# switch FOLDER: from now on this version is the one that starts. Fails when the disk does not take that.
switch() {
    point_to "$1" && mkdir -p -- "${unit%/*}" "${command%/*}" || return 1
    put "$unit" 644 root <"$top/current/$name.service" || return 1
    put "$command" 755 root <<END || return 1
#!/bin/sh
# The installed gateway's command line, with the settings of its service.
WA_GATEWAY_CONFIG=\${WA_GATEWAY_CONFIG-$settings/config.toml} exec $top/current/$name "\$@"
END
    sync
    ! systemd_runs || systemctl daemon-reload
}

tell_where() {
    say "$(timeout 10 "$command" healthcheck 2>/dev/null || echo "its settings: $settings/config.toml")"
    [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] ||
        say "this system has no list of certificate authorities, so WhatsApp cannot be reached; on Debian: sudo apt-get install ca-certificates"
    token=$data/setup-token
    [ -e "$token" ] || return 0
    say "make the first account at /register there; the setup token stands in $token"
    # Only to a person: what keeps the output of programs should not keep this.
    [ ! -t 1 ] || printf '\n  Setup token: %s\n\n' "$(cat -- "$token")"
}

tell_by_hand() {
    say "systemd does not run here; to start it by hand:" \
        "setpriv --reuid $name --regid $name --init-groups -- $command serve"
}

installed() { current=$(readlink -- "$top/current" 2>/dev/null) && [ -x "$top/$current/$name" ]; }
is_same() { diff -rq -- "$bundle" "$top/$version" >/dev/null 2>&1; }

do_install() {
    need_root install
    [ $# = 0 ] || { usage >&2 && exit 2; }
    find_bundle
    if installed; then
        [ "$current" = "$version" ] || die "version $current is installed; for this one: sudo ./install.sh upgrade"
        is_same || die "another build of $version is installed; for this one: sudo ./install.sh upgrade"
    else
        lay_down "$version"
    fi
    getent passwd "$name" >/dev/null || {
        useradd --system --user-group --home-dir "$data" --no-create-home --shell /usr/sbin/nologin "$name"
        changed=yes
    }
    folder "$settings" 750 root "$name"
    folder "$data" 700 "$name" "$name"
    [ -e "$settings/config.toml" ] || {
        example=$(sed "s,^data_dir = .*,data_dir = \"$data\"," "$top/$version/config.example.toml")
        # Not through a pipe: what the other end of one notes as changed is lost.
        put "$settings/config.toml" 640 "$name" <<END
$example
END
    }
    switch "$version" || die "$version could not be put in its place: the reason stands above"
    if [ "$changed" = no ] && { is_in_use || ! systemd_runs; }; then
        say "$version is installed already; nothing was changed"
        return
    fi
    is_in_use || begin
    is_healthy || { last_words; end; die "$version is installed and does not start; its last words stand above"; }
    say "$version is installed"
    tell_where
    systemd_runs || { end; tell_by_hand; }
}

confirm_purge() {
    [ "$1" = no ] || return 0
    [ -t 0 ] || die "--purge deletes $data and $settings for ever; say --yes as well"
    printf 'Delete %s and %s, with every message and every linked device, for ever? Type yes: ' "$data" "$settings" >&2
    read -r answer || :
    [ "$answer" = yes ] || die "nothing was changed"
}

uninstall() {
    need_root uninstall
    purge=no sure=no
    for option in "$@"; do
        case $option in --purge) purge=yes ;; --yes) sure=yes ;; *) usage >&2 && exit 2 ;; esac
    done
    [ "$purge" = no ] || confirm_purge "$sure"
    if systemd_runs && [ -e "$unit" ]; then systemctl --quiet disable --now "$name"; fi
    ! is_in_use || die "the gateway still runs; stop it first"
    rm -rf -- "${top:?}" "$unit" "$command"
    ! systemd_runs || systemctl daemon-reload
    if [ "$purge" = yes ]; then
        rm -rf -- "${data:?}" "${settings:?}" "${unit:?}.d"
        ! getent passwd "$name" >/dev/null || userdel "$name"
        say "removed, with all data and settings"
    else
        say "removed; $data, $settings and the user $name were kept (--purge removes them too)"
    fi
}

case ${1-} in
    install) shift && do_install "$@" ;;
    upgrade)
        shift
        # shellcheck source=packaging/upgrade.sh
        . "$here/upgrade.sh"
        upgrade "$@"
        ;;
    uninstall) shift && uninstall "$@" ;;
    run) shift && find_bundle && exec "$bundle/$name" serve "$@" ;;
    check-platform) check_platform ;;
    help | -h | --help) usage ;;
    *) usage >&2 && exit 2 ;;
esac
