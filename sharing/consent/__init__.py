"""What a patient permits and denies, as FHIR Consent says it and as records are cut by it."""
