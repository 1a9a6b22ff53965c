"""The disclosure-risk gate: k-anonymity, l-diversity, t-closeness, or no dataset."""
