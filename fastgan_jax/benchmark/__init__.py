"""Timing and counting of the training step, here and of a PyTorch implementation of the same step."""
