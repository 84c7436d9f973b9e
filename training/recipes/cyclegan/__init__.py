"""CycleGAN: pictures of one kind into another and back, learnt from two heaps of pictures without pairs."""
