"""Sweeps of language-model fine-tuning runs: composed by Hydra, chosen by Optuna, trained together, kept by MLflow."""
