"""Search for settings: what may be tried, the trials on Ray Tune, and what mattered. Test splits are not read."""
