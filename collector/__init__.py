"""The self-hosted far end: ingest, live view, Data API v1, its own command."""
