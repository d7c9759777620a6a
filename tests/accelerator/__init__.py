"""Checks of values, derivatives, layers, learning, tiles, policies and meshes on any device."""
