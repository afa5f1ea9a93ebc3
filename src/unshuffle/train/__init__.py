"""The engine: fits a method to a data set, writes the run's folder, and goes on where a run was stopped."""
