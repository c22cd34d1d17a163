"""The agent as a library and a command. No Qt anywhere."""
