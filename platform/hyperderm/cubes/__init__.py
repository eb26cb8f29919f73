"""One hyperspectral cube: its type, readers, masks, crops, pseudo-RGB, optics and the phantom. numpy only."""
