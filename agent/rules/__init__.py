"""Pure decisions: no I/O, no clock, no chance; they come in as arguments."""
