"""Where time passes: the core that thinks, and the threads that wait on the world."""
