"""The memory: SQLite, one writer, readers that cannot write."""
