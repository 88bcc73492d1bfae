"""Exchange of checkpoints with the PyTorch program that the method was published with."""
