"""RTP and RTCP: packets, payload formats of each codec both ways, reordering and clocks (pure)."""
