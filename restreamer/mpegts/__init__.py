"""MPEG-TS (ISO/IEC 13818-1): packets, PSI, PES, segment and live muxers, HTTP playout."""
