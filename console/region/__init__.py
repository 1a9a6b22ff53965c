"""The region on one machine: mongod, Airflow, listeners and simulators as processes this command owns."""
