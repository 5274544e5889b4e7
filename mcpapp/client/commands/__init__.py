"""The commands of `star`, one module each, imported when its command runs.

A module holds a function of the command's name, or `app`, a `typer.Typer` that is a group of commands.
"""
