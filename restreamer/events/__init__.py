"""What happens on a node, told to whoever is configured to hear of it."""
