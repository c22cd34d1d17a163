"""Believable data that nobody made, for trying things out."""
