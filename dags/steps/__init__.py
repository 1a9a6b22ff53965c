"""What one task does: stages composed without Airflow, so that tests, benchmarks and the console run the same."""
