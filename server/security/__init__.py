"""Who may do what, from which host and page, with how large a body."""
