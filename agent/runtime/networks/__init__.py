"""Networks as they are: watched, walked hop by hop, and listed."""
