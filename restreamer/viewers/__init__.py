"""The gate every play and publish passes."""
