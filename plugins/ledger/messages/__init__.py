"""Requests, deliveries, consents, erasures, and the sealed summaries beside them (sections 14, 15 and 18)."""
