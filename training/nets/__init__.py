"""Layers that two or more recipes use. Nothing moves in on its first use."""
