"""The parts of the REST surface that belong to no task."""
