"""Checkpoints of the PyTorch program that the method was published with, and initial values from other models."""
