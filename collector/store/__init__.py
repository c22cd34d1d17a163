"""One small interface, two engines: the embedded default, and later the distributed one."""
