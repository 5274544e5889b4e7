"""The OAuth 2.1 authorization server: django-oauth-toolkit, extended. Never imports mcp or mcpapp."""
