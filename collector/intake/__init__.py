"""Events on their way in: from a frame or a call to rows, and the one thread that writes them."""
