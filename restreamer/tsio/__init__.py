"""MPEG-TS to and from the network: publishers, pulls, pushes."""
