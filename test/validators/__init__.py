"""What the program writes, judged by programs of others."""
