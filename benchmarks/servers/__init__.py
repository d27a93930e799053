"""Servers that benchmarks measure against. Each is run as a process: `python -m benchmarks.servers.NAME`."""
