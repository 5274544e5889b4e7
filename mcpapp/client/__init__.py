"""`star`, the console client: signs in to any OAuth-protected MCP server, lists and calls what it has.

A program of its own: it imports no Django and nothing of this package outside `mcpapp.client`.
"""
