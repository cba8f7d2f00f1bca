"""Files in and out: reading, validation, external data, and a disk cache for large arrays."""
