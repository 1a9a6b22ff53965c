"""What anybody verifies offline, and how it is made: proof files, receipts, checkpoints, tiles (section 12)."""
