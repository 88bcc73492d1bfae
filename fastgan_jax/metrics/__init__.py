"""Measures of sets of images, computed from the features that a network gives to each image."""
