"""How programs of this computer reach the agent: the socket, loopback, the gateway."""
