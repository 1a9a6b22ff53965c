"""A page for people about the chain, fed by nodes' HTTP interfaces; Airflow shows it, and knows nothing of it."""
