"""`python -m mcpapp.client` is `star`."""

from mcpapp.client.cli import main

if __name__ == "__main__":
    main()
