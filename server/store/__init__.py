"""What the server itself remembers."""
