"""The outbox: every accepted event on disk, in SQLite, until the far end has it."""
