"""The ways out: one for each app and upstream, what sends on it, and how it stands."""
