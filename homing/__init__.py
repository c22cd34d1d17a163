"""The command `homing`: finds the right room, and imports only that one."""
