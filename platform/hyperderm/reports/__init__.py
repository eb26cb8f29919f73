"""Tables and plots people read."""
