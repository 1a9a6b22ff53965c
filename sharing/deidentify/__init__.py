"""What leaves of a FHIR resource, a text or a DICOM object: listed elements, and nothing else."""

from __future__ import annotations

from sharing.deidentify.deidentifier import Deidentifier
from sharing.deidentify.profile import Profile, load_profile, profile_names
from sharing.deidentify.pseudonyms import Pseudonyms
from sharing.deidentify.report import Report

__all__ = ["Deidentifier", "Profile", "Pseudonyms", "Report", "load_profile", "profile_names"]
