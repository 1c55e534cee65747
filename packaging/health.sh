# Part of install.sh: starts and stops the gateway, by systemd where it runs, and tells whether it is well.
# shellcheck shell=sh disable=SC2154  # its variables are install.sh's

# Starting may take long, for a large database that is brought up to date; answering once it has started may not.
start_s=300 health_s=30
# Without systemd the gateway is started only to see whether it would work; this is its process.
trial=''

systemd_runs() { [ -d /run/systemd/system ]; }
be_gateway() { umask 077 && exec setpriv --reuid "$name" --regid "$name" --init-groups -- "$@"; }
as_gateway() { (be_gateway "$@"); }
is_in_use() { [ -e "$data/gateway.lock" ] && ! flock --nonblock "$data/gateway.lock" true; }

begin() {
    if systemd_runs; then
        systemctl --quiet enable "$name" && systemctl start --no-block "$name"
    else
        be_gateway "$top/current/$name" serve --config "$settings/config.toml" >"$top/trial.log" 2>&1 </dev/null &
        trial=$!
    fi
}

end() {
    if systemd_runs; then
        systemctl stop "$name"
    elif [ -n "$trial" ]; then
        kill -TERM "$trial" 2>/dev/null || :
        wait "$trial" || :
        trial=''
    fi
}

# Ended since it was begun, whether or not it was started again.
has_ended() {
    if systemd_runs; then
        [ "$(systemctl show --property NRestarts --value "$name")" != 0 ]
    else
        ! kill -0 "$trial" 2>/dev/null
    fi
}

# systemd waits for the gateway's own word; the request shows that it answers others too.
is_ready() {
    { ! systemd_runs || systemctl --quiet is-active "$name"; } && timeout "$health_s" "$command" healthcheck >/dev/null 2>&1
}

is_starting() { ! systemd_runs || [ "$(systemctl is-active "$name")" = activating ]; }

# Ready within the time it has, and still so a moment later.
is_healthy() {
    starting=yes deadline=$(($(date +%s) + start_s))
    until is_ready; do
        if [ "$starting" = yes ] && ! is_starting; then
            starting=no deadline=$(($(date +%s) + health_s))
        fi
        if has_ended || [ "$(date +%s)" -ge "$deadline" ]; then return 1; fi
        sleep 1
    done
    sleep 2
    ! has_ended && is_ready
}

last_words() {
    if systemd_runs; then
        journalctl --unit "$name" --lines 12 --output cat --no-pager >&2
    else
        tail -n 12 -- "$top/trial.log" >&2
    fi
}
