"""The vault: landing zone, SM4 envelopes, keys, blind indexes and the outbox, in one MongoDB database."""
