"""Many compressions: models by methods by sizes, each once."""
