"""CycleGAN: pictures of one kind into another and back, learnt from two heaps of pictures without pairs."""

# Beyond the four of every recipe, with the setting that a bare word behind the command is.
COMMANDS = {"peaks": "peaks"}
