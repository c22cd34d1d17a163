"""One border post per foreign thing: our values in, our errors out."""
