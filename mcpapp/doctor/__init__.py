"""The doctor: walks the way of each client from the outside, and says what is wrong, why it matters and what mends it.

It knows the site by its public URL alone, as clients do; only `site` makes use of being inside it.
"""
