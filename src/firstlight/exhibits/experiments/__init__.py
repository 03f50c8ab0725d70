"""One file for each exhibit: claim, experiment, measurement, verdict, pictures, lesson."""
