"""Known faults of builds, one module for each topic."""
