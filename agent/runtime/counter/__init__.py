"""The counter: from what an app hands in to what is on disk, and its answer."""
