"""Airflow triggers that wait for a quorum."""
