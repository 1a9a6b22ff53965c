"""Stage 6, share: from a signed request to a dataset that proves itself."""
