"""What is spoken on a road: WebSocket, HTTP, the Data API."""
