"""The frozen records that all rooms share; they know nothing of any other room."""
