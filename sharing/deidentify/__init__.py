"""What leaves of a FHIR resource, a text or a DICOM object: listed elements, and nothing else."""
