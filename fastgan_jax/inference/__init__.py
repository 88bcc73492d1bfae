"""What a trained model does: sampling, interpolation, style mixing, projection, reconstruction."""
