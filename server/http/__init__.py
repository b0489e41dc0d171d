"""What is asked of a request before its body is read, and what an answer or an error looks like."""
