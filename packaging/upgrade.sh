# Part of install.sh: another version takes the place of the installed one, and gives it back when it is not well.
# shellcheck shell=sh disable=SC2154  # its variables and verbs are install.sh's

# The last by number; 1.0rc1 comes before 1.0: what a ~ stands before is sorted before its end.
newest_of() { printf '%s\n' "$@" | sed 's/\.*[a-z]/~&/' | sort -V | tail -n 1 | tr -d '~'; }

# The number in the header of a database that nobody has open: PRAGMA user_version.
schema_of() { od -A n -t u4 --endian=big -j 60 -N 4 -- "$1" | tr -d ' '; }

check_upgrade() {
    installed || die "nothing is installed here; for a first time: sudo ./install.sh install"
    if [ "$current" = "$version" ] && is_same; then
        say "$version is installed already; nothing was changed"
        exit 0
    fi
    [ "$(newest_of "${current%.replaced}" "$version")" = "$version" ] || [ "$1" = --allow-downgrade ] ||
        die "$version is older than the installed $current; if you want it all the same: sudo ./install.sh upgrade --allow-downgrade"
}

# By the copy, which the gateway's user can read wherever the bundle was unpacked.
check_settings() {
    answer=$(as_gateway "$top/$version.new/$name" check-config --config "$settings/config.toml" 2>&1) || {
        rm -rf -- "${top:?}/$version.new"
        die "$version cannot use $settings/config.toml; nothing was changed: $answer"
    }
}

# A rebuilt version takes the name of the one it replaces; that one stays, under another.
make_way() {
    [ "$current" = "$version" ] || { rm -rf -- "${top:?}/$version" && return; }
    rm -rf -- "${top:?}/$version.replaced"
    # Not by renaming: the running gateway reads its files by this name until it is stopped.
    cp -RP --preserve=mode,timestamps -- "$top/$version" "$top/$version.replaced"
    current=$version.replaced
}

# After this, whatever the new version does to the database can be taken back.
copy_database() {
    copy=''
    [ -e "$data/gateway.db" ] || return 0
    if [ -s "$data/gateway.db-wal" ]; then
        go_on
        die "the gateway was not stopped cleanly; start it once, which mends that, then upgrade; nothing was changed"
    fi
    copy=$data/backups/gateway-$(date -u +%Y%m%dT%H%M%SZ)-before-upgrade.db
    # Under its name only when it is whole: a backup that is none would take the place of one that is.
    # shellcheck disable=SC2016  # its own words
    as_gateway sh -c 'mkdir -p -- "${2%/*}" && { cp -- "$1" "$2.new" && sync -- "$2.new" && mv -- "$2.new" "$2" ||
        { rm -f -- "$2.new"; false; }; }' - "$data/gateway.db" "$copy" ||
        { go_on; die "the database could not be copied to $copy; nothing was changed"; }
}

# As before, the installed version: what was stopped for the upgrade runs again, what was stopped already does not.
go_on() {
    rm -rf -- "${top:?}/$version.new"
    [ "$starts" = no ] || ! systemd_runs || begin
}

# Only when the older version cannot read what the newer one left: what was received meanwhile is not thrown away for nothing.
give_back_database() {
    [ -n "$copy" ] && [ "$(schema_of "$copy")" != "$(schema_of "$data/gateway.db")" ] || return 1
    aside=$data/gateway.db.from-$version-$(date -u +%Y%m%dT%H%M%SZ)
    for ending in '' -wal -shm; do
        [ ! -e "$data/gateway.db$ending" ] || as_gateway mv -- "$data/gateway.db$ending" "$aside$ending"
    done
    # A gateway whose database is missing takes the newest backup that it can read, which this copy is.
    say "the database was changed by $version and was set aside as $aside; the copy of before takes its place"
}

# roll_back REASON
roll_back() {
    say "$version $1 stand above); going back to $current"
    end
    # It goes first: it may be what the disk is full of.
    { point_to "$current" && rm -rf -- "${top:?}/$version" && switch "$current"; } ||
        die "$current could not be put in its place again: $top/current must lead to it"
    if [ "$starts" = no ]; then die "$current is in its place again, stopped as it was; $version was removed"; fi
    begin
    is_healthy || { end; give_back_database && begin && is_healthy; } ||
        { last_words; end; die "$current does not start either; its last words stand above, and the copy of the database is $copy"; }
    [ -n "$trial" ] && end
    die "$current is in its place again; $version was removed"
}

# Deliberately stopped stays stopped.
was_running() { if systemd_runs; then systemctl --quiet is-active "$name"; else return 0; fi; }

upgrade() {
    need_root upgrade
    case ${1-} in '' | --allow-downgrade) ;; *) usage >&2 && exit 2 ;; esac
    find_bundle
    check_upgrade "${1-}"
    systemd_runs || ! is_in_use || die "a gateway runs on $data; stop it first, then start it again"
    make_way
    lay_down "$version.new"
    check_settings
    starts=yes
    was_running || starts=no
    end
    ! is_in_use || die "a gateway that systemd did not start runs on $data; stop it first"
    copy_database
    # Of a version that is built anew the replaced one starts, should the power go just now.
    point_to "$current" || { go_on; die "the disk takes nothing more; nothing was changed"; }
    rm -rf -- "${top:?}/$version" && mv -T -- "$top/$version.new" "$top/$version"
    switch "$version" || roll_back "could not be put in its place (the reasons"
    if [ "$starts" = yes ]; then
        begin
        is_healthy || { last_words; roll_back "is not well (its last words"; }
    fi
    for old in "$top"/[0-9]*; do
        case ${old##*/} in "$version" | "$current") ;; *) rm -rf -- "$old" ;; esac
    done
    say "$version is installed; $current is kept beside it${copy:+, and the database of before as $copy}"
    if [ "$starts" = no ]; then
        say "the service was not running and was not started: sudo systemctl start $name"
    else
        tell_where
        systemd_runs || { end; tell_by_hand; }
    fi
}
