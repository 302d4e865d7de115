"""What is learned and how it is scored: data sources, splits, prompts, labels, metrics. No torch, no model."""
