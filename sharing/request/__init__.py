"""The request that people read and sign, the committee's answers, and what a dry run says."""
