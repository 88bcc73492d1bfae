"""Uses of a trained model: sampling, interpolation, style mixing, projection, reconstruction, the probe, videos."""
