"""How good is a synthetic set? Every metric of this room, of one synthetic set against real cubes, with its yardstick."""
