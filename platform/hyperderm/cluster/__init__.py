"""The only package that uses Ray: the session, trials on Ray Tune, worker groups, and data shared by reference."""
