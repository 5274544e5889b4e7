"""Access tokens that other issuers sign (RFC 9068, OpenID Connect providers, Microsoft Entra ID), taken beside our own.

Off unless `MCPAPP["TOKEN_ISSUERS"]` lists an issuer. Nothing here knows the authorization server of this site: people
are found by `MCPAPP["ISSUER_USER"]`.
"""
