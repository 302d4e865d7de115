"""What runs next: from the command line and `conf/` to a sweep of checked runs. Imports nothing heavy."""
