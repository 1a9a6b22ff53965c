"""What may be done: rules in Cedar, and how the region changes them and its members (section 14)."""
