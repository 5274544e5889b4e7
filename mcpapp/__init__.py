"""The protected resource: an MCP server under one path of a Django site. Never imports DOT or authapp."""
