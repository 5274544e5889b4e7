"""The site: settings (the only reader of the environment), URLs and the ASGI entry point."""
