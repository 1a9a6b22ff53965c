"""HIS, EMR and LIS: HL7 v2 from files and over MLLP."""
