"""SQL on FHIR: ViewDefinitions compiled to FHIRPath over Arrow batches."""
