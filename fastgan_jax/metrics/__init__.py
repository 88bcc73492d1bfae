"""Metrics of sets of images, from their features or perceptual distances: arrays in, numbers out."""
