"""A deployment's whole database, in its operator's hands: upgraded, looked at, copied to another one."""
