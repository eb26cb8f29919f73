"""Statistics of decisions: predictions, intervals, paired differences and multiplicity."""
