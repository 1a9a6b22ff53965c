"""What may be asked for, without any patient's data."""
