"""What the two apps have of each other: paths of functions, and nothing else. Another site names others here.

`MCPAPP["TOKEN_LOOKUP"]`, which the environment has a say in, is in `config.settings`.
"""

AUTHAPP = {
    "TOOL_CATALOG": "mcpapp.catalog.tools_for",
    "CONNECTION_USAGE": "mcpapp.usage.of_connections",
    "CLIENT_USAGE": "mcpapp.usage.of_clients",
    "CALLS_URL": "mcpapp.calls_filters.url_of_calls",
    "SEE_AS": "mcpapp.see_as.see_as",
}
"""What the authorization server asks the resource server."""

MCPAPP = {
    "CONNECTION_STATUS": "authapp.connected_apps.status_of",
    "CONNECTION_FACTS": "authapp.attempts.hear_of",
    "CALL_LINKS": "authapp.call_links.links_of",
    "ISSUER_USER": "authapp.issuer_people.find_person",
    "TOKEN_CHANGES": "authapp.changes.open_feed",
}
"""What the resource server asks the authorization server."""
