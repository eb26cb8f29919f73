"""The report of an ablation: what the predictions say, in numbers, pictures and one paragraph."""
