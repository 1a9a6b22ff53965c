"""When things happen: one short file a DAG, and ``steps``, what one task does, which needs no Airflow."""
