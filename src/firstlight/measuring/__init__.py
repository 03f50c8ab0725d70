"""What was observed, as statistics with standard errors; no thresholds and no words."""
