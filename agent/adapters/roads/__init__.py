"""The road to a far end: allowed, named, connected, proxied, proven, under one deadline."""
