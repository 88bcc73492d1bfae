"""The networks, as functional Flax modules, and the layers and variants that they are made of."""
