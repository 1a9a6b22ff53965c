"""Stage 2: a raw record in, FHIR R4 resources out; pure functions, no I/O, mappings are data."""
