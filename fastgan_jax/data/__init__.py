"""Image files to one uint8 array, its cache, and the batches of training."""
