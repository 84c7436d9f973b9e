"""Style transfer by optimising the image itself (Gatys et al. 2016): the course's method, slow, and the yardstick of `style_transfer`."""
