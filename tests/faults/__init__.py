"""What clients see, and what is kept, when something breaks in the middle of it."""
