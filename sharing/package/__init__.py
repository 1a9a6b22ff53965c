"""The dataset as it travels: sealed to one key, signed, and proved to a trust anchor without either."""
