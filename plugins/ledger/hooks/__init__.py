"""Airflow hooks that open nodes."""
