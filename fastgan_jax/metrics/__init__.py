"""Measures of sets of pictures, computed from the features that a network gives to each picture."""
