"""What people wear and what nursing homes measure: MQTT, and files of phones, watches and vendors."""
