"""The only door to Ray: the session, trials on Ray Tune, worker groups, and data shared by reference."""
