"""One holder's part of an approved dataset: from the cohort to the package."""
