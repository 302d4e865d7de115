"""One training path: a group of runs on one base model; a single run is a group of one."""
