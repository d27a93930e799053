"""What SQLite is asked to do: functions over a connection, which a writer or a reader thread calls."""
