"""Late interaction: ours and other engines on the same token vectors."""
