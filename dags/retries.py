"""Which failed tasks are tried again: all but those whose error says that a person must act first."""

from __future__ import annotations

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule


def unless(stops: list[str]) -> ExceptionRetryPolicy:
    """Return the policy that tries a task again unless it failed with one of these errors, or one of their kinds.

    Args:
        stops: Their import paths; a DAG file does not import what its tasks do.
    """
    return ExceptionRetryPolicy(rules=[RetryRule(exception=list(stops), action=RetryAction.FAIL)])
