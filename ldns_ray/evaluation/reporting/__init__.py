"""What an evaluation leaves: a summary, a table of units, and one HTML page with all of it."""
