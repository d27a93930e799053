"""`turnwise chat`."""
