"""The rows of the table. Each module has a `measure(options)` that returns its lines."""
