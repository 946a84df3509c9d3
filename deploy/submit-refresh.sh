#!/bin/sh
# Submits the refresh as a Ray job named after the day, and waits for it. Exits 0 only when it succeeded or was stopped.
# A stop of this script stops the job. After a lost connection it attaches again, and so does a second start while the
# job of the first still runs. A job of the same day that has ended gets a successor: refresh-DATE.2, refresh-DATE.3, ...
# Called by cron, by the systemd timer and by CI (docs/cluster.md). Words given to it are passed to webtext refresh.
# It needs, in the folder above: .venv with ray, webtext.toml, and cluster.env with RAY_API_SERVER_ADDRESS,
# RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH, a NAME=value on each line; a variable that is set already stays without that file.
set -eu
cd "$(dirname "$0")/.."
if [ -f cluster.env ]; then
    set -a
    . ./cluster.env
    set +a
fi
: "${RAY_API_SERVER_ADDRESS:?not set, and no cluster.env: name the dashboard of the head, such as http://127.0.0.1:8265}"
ray=.venv/bin/ray
# The job that was submitted last, which may be one of an earlier day.
memory="${STATE_DIRECTORY:-.}/refresh.job"

status() {
    "$ray" job status "$1" 2>&1 | grep -Eo 'PENDING|RUNNING|STOPPED|SUCCEEDED|FAILED' | head -n 1 || true
}

job=
if [ -f "$memory" ]; then
    last=$(cat "$memory")
    case "$(status "$last")" in
        PENDING | RUNNING) job=$last ;;
    esac
fi

attach=$job
number=1
job=${job:-refresh-$(date +%F)}
while [ -z "$attach" ] && [ -n "$(status "$job")" ]; do
    number=$((number + 1))
    job=refresh-$(date +%F).$number
done

child=
stop() {
    trap '' TERM INT
    "$ray" job stop "$job" || true
    [ -z "$child" ] || kill "$child" 2>/dev/null || true
    exit "$1"
}
trap 'stop 143' TERM
trap 'stop 130' INT

# In the background, so that a signal is served at once.
if [ -n "$attach" ]; then
    echo "attaching to $job, which still runs"
    "$ray" job logs --follow "$job" &
else
    echo "$job" > "$memory"
    "$ray" job submit \
        --submission-id "$job" \
        --working-dir . \
        --runtime-env-json '{"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}}' \
        -- webtext refresh --config webtext.toml "$@" &
fi
child=$!
code=0
wait "$child" || code=$?

# A lost connection ends the command above, and not the job.
while :; do
    case "$(status "$job")" in
        PENDING | RUNNING) ;;
        FAILED) exit 1 ;;
        SUCCEEDED | STOPPED) exit 0 ;;
        *) exit "$code" ;;
    esac
    sleep "${WEBTEXT_ATTACH_S:-20}" &
    wait $! || true
    "$ray" job logs --follow "$job" &
    child=$!
    wait "$child" || true
done
