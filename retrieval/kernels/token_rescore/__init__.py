"""Documents of many vectors scored again from the stored ones: MaxSim, its best, and exactly."""
