"""The log of tool calls: what is noted of a call, what of its arguments, and how it is written without slowing it."""
