"""Nodes talking to nodes: catalogue, selection, the origin side and ClusterSource."""
