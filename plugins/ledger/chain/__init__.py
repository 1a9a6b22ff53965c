"""What a chain is made of: records in batches, transactions in blocks, the state they lead to, a replica of it."""
