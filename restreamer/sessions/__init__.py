"""Viewers and publishers: who they are, who may, what they got."""
