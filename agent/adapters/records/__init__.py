"""What is kept beside the outbox: the record of the wire, and the spool."""
