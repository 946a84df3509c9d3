#!/bin/sh
# Submits the refresh as a Ray job named after the day, waits for it, and exits 0 only when it succeeded or was stopped.
# Called by cron, by the systemd timer and by CI (docs/cluster.md). Words given to it go on to webtext refresh.
# Besides itself it needs, in the folder above: .venv with ray, webtext.toml, and cluster.env with RAY_API_SERVER_ADDRESS,
# RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH, a NAME=value on each line; a variable that is set already stays without that file.
set -eu
cd "$(dirname "$0")/.."
if [ -f cluster.env ]; then
    set -a
    . ./cluster.env
    set +a
fi
: "${RAY_API_SERVER_ADDRESS:?not set, and no cluster.env: name the dashboard of the head, such as http://127.0.0.1:8265}"
exec .venv/bin/ray job submit \
    --submission-id "refresh-$(date +%F)" \
    --working-dir . \
    --runtime-env-json '{"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}}' \
    -- webtext refresh --config webtext.toml "$@"
