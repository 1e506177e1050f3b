"""The journal: closed sessions and traffic by the minute, in a database."""
