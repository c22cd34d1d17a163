"""This computer: its facts, its clocks, its keyring, its files and who else uses them."""
