"""FLV: tag bodies, AMF, onMetaData and the live container (pure); HTTP-FLV playing."""
