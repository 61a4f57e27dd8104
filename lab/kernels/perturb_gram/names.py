"""The laws in the order of their codes, and the stream of random numbers that is theirs."""

STREAM = 2
LAWS = ("gaussian", "uniform", "mask")
