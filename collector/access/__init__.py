"""Who may report, who may ask, and how often."""
