"""The report of an ablation: its predictions summarised in numbers, figures and one paragraph."""
