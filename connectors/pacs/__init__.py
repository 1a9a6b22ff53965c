"""PACS: DICOM over DIMSE (PS3.7, PS3.8) and over HTTP (DICOMweb, PS3.18); see docs/decisions/0210-imaging.md."""
