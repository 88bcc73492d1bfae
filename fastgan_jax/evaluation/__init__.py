"""How good a generator is: metrics of its images, their nearest training images, and what the numbers mean."""
