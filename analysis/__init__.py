"""Tables from what MLflow keeps. Reads only; of `sweeper` it knows the metric names and nothing else."""
