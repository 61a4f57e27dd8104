"""Studies of the kernels: forms side by side, the roofline, replay."""
