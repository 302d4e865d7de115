"""Where and when runs are trained: groups, slots (worker processes) and the process that coordinates them."""
