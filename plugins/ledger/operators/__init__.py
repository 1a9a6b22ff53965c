"""Airflow operators that carry bytes between nodes and exchange."""
