"""Hydra looks for plugins in packages below this name."""
