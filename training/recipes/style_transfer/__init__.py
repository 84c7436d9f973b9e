"""Photographs in the manner of paintings: one feed-forward network, a style is a row of its normalisation's parameters."""

# Beyond the four of every recipe, with the setting that a bare word behind the command is.
COMMANDS = {"add-style": "painting", "yardstick": "yardstick"}
