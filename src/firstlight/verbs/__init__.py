"""One thin file for each verb: the whole journey of a model, calling the rooms in order."""
