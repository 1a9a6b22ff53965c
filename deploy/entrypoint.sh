#!/bin/sh
# Starts one process of a region. For an institution's process it keeps what it has taken from its queue under keys of
# its own, which are the only ones its broker account may touch (deploy/prepare.py, `broker_accounts`).
set -eu
if [ -n "${XINGLIN_NODE:-}" ]; then
    export AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__UNACKED_KEY="unacked:$XINGLIN_NODE"
    export AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__UNACKED_INDEX_KEY="unacked_index:$XINGLIN_NODE"
    export AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__UNACKED_MUTEX_KEY="unacked_mutex:$XINGLIN_NODE"
fi
exec "$@"
