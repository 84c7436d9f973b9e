"""How near the server comes to the limit of its machine: `make bench`. README.md says what is measured and how."""
