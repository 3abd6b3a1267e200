"""The clinical model: recipe, fit, artifact, validation."""
