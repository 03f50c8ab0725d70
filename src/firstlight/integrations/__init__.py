"""Where people already work: pytest, trainers and trackers. Each brings its library when used."""
