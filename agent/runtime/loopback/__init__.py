"""The gateway on loopback: open while there is a token."""
