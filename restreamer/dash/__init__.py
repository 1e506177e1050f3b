"""MPEG-DASH (ISO/IEC 23009-1): manifests of live streams over the CMAF files that HLS has, too."""
