"""OpenID Connect on top of the authorization code: ID tokens, keys, claims, userinfo and logout."""
