"""Photographs in the manner of paintings: one feed-forward network, a style is a row of its normalisation's parameters."""

COMMANDS = {"add-style": "painting"}  # beyond the four of every recipe; a bare word behind it is this setting
