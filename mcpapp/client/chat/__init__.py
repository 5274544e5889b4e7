"""`star chat`: a language model that is given the tools of MCP servers, and a person who stays in charge of them."""
