"""In-memory doubles and frame makers that tests (ours and users') share."""
