"""What a run leaves behind: its folder (the truth on disk), its MLflow run (the published view), its pictures."""
