"""What every other package uses: images as arrays, image grids, files, the console, devices, checks of numbers."""
