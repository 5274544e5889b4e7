"""Real MCP clients, each given nothing but the URL, with a scripted person at the browser."""
